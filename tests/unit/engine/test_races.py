"""Things that happen at the same time, or at the wrong time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from subgrpc.driver import Observation, Run
from subgrpc.errors import Aborted
from subgrpc.metastore import Transaction
from subgrpc.testing.fake import FakeBackend, FakeDriver
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment

from .conftest import World, now, reason, retrying, until

CANCELLING, DELETING = api.EXPERIMENT_STATE_CANCELLING, api.EXPERIMENT_STATE_DELETING


async def test_an_old_answer_does_not_hide_a_newer_observation(world: World) -> None:
    """The watch tells the end while a slow `get` still brings what was before: it ends."""
    uid = await world.create()
    await world.submitted(uid)
    world.set(uid, "RUNNING")
    await world.reaches(uid, "RUNNING")
    slow = SlowGet(world.backend)
    await world.stop()
    world.backend = slow
    await world.start()
    await until(lambda: slow.getting)
    world.set(uid, "SUCCEEDED")
    await asyncio.sleep(0.2)
    slow.go_on.set()
    await world.reaches(uid, "SUCCEEDED")


class SlowGet(FakeBackend):
    """A backend whose watch begins with nothing, and whose `get` answers late."""

    def __init__(self, other: FakeBackend) -> None:
        super().__init__()
        self.obedient, self.runs = True, other.runs
        self.getting = False
        self.go_on = asyncio.Event()

    def driver_class(self) -> type[FakeDriver]:
        backend = self

        class SlowDriver(super().driver_class()):  # type: ignore[misc]
            """Answers late."""

            async def get(self, run: Run) -> Observation:
                answer: Observation = await super().get(run)
                backend.getting = True
                await backend.go_on.wait()
                return answer

            async def watch(self, control_plane_id: str) -> AsyncIterator[object]:
                async for item in super().watch(control_plane_id):
                    if backend.getting or not isinstance(item, Observation):
                        yield item

        return SlowDriver


async def test_every_attempt_is_lost_only_after_two_looks(world: World) -> None:
    """That attempt 1 was lost makes one look at attempt 2 no second one."""
    uid = await world.create(retrying(1))
    await world.submitted(uid)
    world.set(uid, "RUNNING")
    world.write(uid, b"some output")
    await world.reaches(uid, "RUNNING")
    world.backend.vanish((uid, 1))
    await world.submitted(uid, 2)
    hidden = world.backend.runs[uid, 2]
    world.backend.vanish((uid, 2))
    await asyncio.sleep(0.3)
    assert world.state(uid) != "FAILED"
    world.backend.runs[uid, 2] = hidden
    world.set(uid, "SUCCEEDED", attempt=2)
    await world.reaches(uid, "SUCCEEDED")
    await until(lambda: all(row.settled for row in now(world.store.attempts(uid))))


async def test_two_looks_at_once_are_one(world: World) -> None:
    """However often a watch says that a run is gone: the looks are a second apart."""
    uid = await world.create()
    await world.submitted(uid)
    world.set(uid, "RUNNING")
    await world.reaches(uid, "RUNNING")
    run = world.backend.runs[uid, 1]
    world.backend.vanish((uid, 1))
    for _ in range(20):
        await asyncio.sleep(0.01)
        world.backend.wake(run.run)
    assert world.state(uid) == "RUNNING"
    world.backend.runs[uid, 1] = run
    world.set(uid, "SUCCEEDED")
    await world.reaches(uid, "SUCCEEDED")


async def test_a_run_that_cannot_be_handed_over_is_stopped_first(world: World) -> None:
    """After a restart a secret is gone; the task that runs is stopped before FAILED is said."""
    folder = world.folder / "secrets" / "default"
    folder.mkdir(parents=True)
    (folder / "token").write_text("s3cr3t")
    experiment = Experiment()
    group = experiment.spec.task_groups.add(role="main", command="x", replicas=2)
    group.env.add(name="T", secret="token")
    uid = await world.create(experiment)
    await world.submitted(uid)
    world.set(uid, "RUNNING", 0)
    await world.reaches(uid, "RUNNING")
    await world.stop()
    (folder / "token").unlink()
    world.backend.obedient = False
    await world.start()
    await until(lambda: bool(world.backend.runs[uid, 1].stops))
    assert world.state(uid) == "RUNNING"
    for index in range(2):
        world.set(uid, "CANCELLED", index)
    await world.reaches(uid, "FAILED")
    assert reason(world, uid) == "SecretNotFound"
    await until(lambda: not world.backend.runs)


async def test_labels_of_a_waiting_run_may_change_before_a_restart(world: World) -> None:
    """What is handed over again is the same run, whatever its labels are by now."""
    uid = await world.create()
    await world.submitted(uid)

    def label(tx: Transaction) -> None:
        experiment = tx.experiment(uid)
        assert experiment is not None
        experiment.labels["new"] = "yes"
        tx.save_experiment(experiment)

    await world.store.write(label)
    await world.restart()
    await until(lambda: world.backend.calls.count(("submit", (uid, 1))) == 2)
    world.set(uid, "SUCCEEDED")
    await world.reaches(uid, "SUCCEEDED")


class AbortingBackend(FakeBackend):
    """A backend whose first stop ends with Aborted, as that of a remote driver may."""

    aborted = False

    async def enter(self, method: str = "", run: Run | None = None) -> None:
        """As always, but for the first stop."""
        await super().enter(method, run)
        if method == "stop" and not self.aborted:
            self.aborted = True
            raise Aborted("a conflict in the backend", reason="CONFLICT")


async def test_a_driver_that_aborts_is_asked_again(world: World) -> None:
    """Only a lost lease ends the leading of a cluster."""
    await world.stop()
    backend = world.backend = AbortingBackend()
    backend.obedient = True
    await world.start()
    uid = await world.create()
    await world.submitted(uid)
    await world.change(uid, CANCELLING)
    await world.reaches(uid, "CANCELLED")
    assert backend.aborted


async def test_a_run_that_comes_late_is_removed(world: World) -> None:
    """A submit that was on its way arrives when its attempt is settled: nothing stays of it."""
    uid = await world.create()
    await world.submitted(uid)
    run = world.backend.runs[uid, 1]
    world.set(uid, "SUCCEEDED")
    await until(lambda: all(row.settled for row in now(world.store.attempts(uid))))
    await until(lambda: not world.backend.runs)
    world.backend.runs[uid, 1] = run
    world.set(uid, "RUNNING")
    await until(lambda: not world.backend.runs)
    assert world.state(uid) == "SUCCEEDED"
