"""Things that happen at the same time, at the wrong time, or while the driver is not there."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from pathlib import Path

from subgrpc.driver import ClusterConfig, Driver, Observation, Run, Workload
from subgrpc.engine.collector import LogCollector
from subgrpc.engine.context import Memory
from subgrpc.engine.workqueue import WorkQueue
from subgrpc.errors import Aborted, FailedPrecondition, Unavailable
from subgrpc.metastore import Transaction
from subgrpc.testing.fake import FakeBackend, FakeDriver
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.cluster_service_pb2 import Cluster, ClusterHealth
from subgrpc.v1.experiment_service_pb2 import Experiment

from .conftest import World, now, until

CANCELLING, DELETING = api.EXPERIMENT_STATE_CANCELLING, api.EXPERIMENT_STATE_DELETING


def retrying(retries: int, backoff_ms: int = 10) -> Experiment:
    """An experiment that is tried again."""
    experiment = Experiment()
    experiment.spec.task_groups.add(role="main", command="x")
    experiment.spec.retry_policy.max_retries = retries
    experiment.spec.retry_policy.initial_backoff.FromMilliseconds(backoff_ms)
    return experiment


def reason(world: World, uid: str) -> str:
    """Why it is in its state."""
    experiment = world.get(uid)
    return experiment.reason if experiment else ""


class BrokenBackend(FakeBackend):
    """A backend whose driver cannot be started while `broken`."""

    broken = False

    def driver_class(self) -> type[FakeDriver]:
        backend = self

        class BreakableDriver(super().driver_class()):  # type: ignore[misc]
            """Refuses to start."""

            @classmethod
            def from_config(cls, config: ClusterConfig) -> Driver:
                if backend.broken:
                    raise FailedPrecondition("no licence", reason="NO_LICENCE")
                return cls()

        return BreakableDriver


async def broken(world: World) -> BrokenBackend:
    """Starts the server again, with a driver that does not start."""
    await world.stop()
    backend = BrokenBackend()
    backend.obedient, backend.broken = True, True
    backend.runs = world.backend.runs
    world.backend = backend
    await world.start()
    return backend


async def test_what_never_ran_is_deleted_without_a_driver(world: World) -> None:
    """A cluster whose driver does not start keeps nobody from deleting what waits for it."""
    await broken(world)
    uid = await world.create()
    await until(lambda: reason(world, uid) == "ClusterUnhealthy")
    await world.change(uid, DELETING)
    await world.reaches(uid, "GONE")


async def test_a_cancel_between_attempts_needs_no_driver(world: World) -> None:
    """An experiment in its backoff has nothing in the backend: CANCELLED at once."""
    uid = await world.create(retrying(1, 60_000))
    await world.submitted(uid)
    world.set(uid, "FAILED", reason="ExitCode", exit_code=1)
    await until(lambda: reason(world, uid) == "Backoff")
    await until(lambda: all(row.settled for row in now(world.store.attempts(uid))))
    await broken(world)
    await world.change(uid, CANCELLING)
    await world.reaches(uid, "CANCELLED")


async def test_a_queue_timeout_needs_no_driver(world: World) -> None:
    """Also a cluster that never works ends the wait of what has a queue_timeout."""
    await broken(world)
    experiment = Experiment()
    experiment.spec.queue_timeout.FromMilliseconds(50)
    uid = await world.create(experiment)
    await world.reaches(uid, "FAILED")
    assert reason(world, uid) == "QueueTimeout"


async def test_what_may_run_waits_for_its_driver(world: World) -> None:
    """Without its driver a running experiment is neither gone nor cancelled, whatever is asked."""
    uid, other = await world.create(), await world.create()
    for each in (uid, other):
        await world.submitted(each)
        world.set(each, "RUNNING")
        await world.reaches(each, "RUNNING")
    backend = await broken(world)
    await world.change(uid, DELETING)
    await world.change(other, CANCELLING)
    await asyncio.sleep(1.5)
    assert (world.state(uid), world.state(other)) == ("DELETING", "CANCELLING")
    backend.broken = False
    await world.reaches(uid, "GONE")
    await world.reaches(other, "CANCELLED")
    await until(lambda: not backend.runs)


async def test_a_cluster_that_is_configured_no_more(world: World) -> None:
    """Its experiments say so and can be deleted; its record goes with the last that waits."""
    ended = await world.create()
    await world.submitted(ended)
    world.set(ended, "SUCCEEDED")
    await until(lambda: all(row.settled for row in now(world.store.attempts(ended))))
    world.backend.holding = True
    uid = await world.create()
    await world.stop()
    world.clusters = ("two",)
    await world.start()
    await until(lambda: "not configured" in (world.get(uid) or Experiment()).message)
    raw = now(world.store.get_cluster("clusters/one"))
    assert raw is not None
    assert Cluster.FromString(raw).health == ClusterHealth.CLUSTER_HEALTH_UNHEALTHY
    await world.change(uid, DELETING)
    await world.reaches(uid, "GONE")
    await world.restart()
    assert now(world.store.get_cluster("clusters/one")) is None
    await world.change(ended, DELETING)
    await world.reaches(ended, "GONE")


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


async def test_an_outage_does_not_hide_why_an_attempt_is_stopped(world: World) -> None:
    """A queue timeout stays the reason, though the cluster becomes unhealthy before the end."""
    world.backend.obedient = False
    experiment = Experiment()
    experiment.spec.queue_timeout.FromMilliseconds(50)
    uid = await world.create(experiment)
    await until(lambda: reason(world, uid) == "QueueTimeout")
    world.backend.outage = "away"
    waiting = await world.create()
    await until(lambda: reason(world, waiting) == "ClusterUnhealthy")
    assert reason(world, uid) == "QueueTimeout"
    world.backend.outage = ""
    world.set(uid, "CANCELLED")
    await world.reaches(uid, "FAILED")
    assert "queue_timeout" in (world.get(uid) or Experiment()).message


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


async def test_a_create_does_not_need_the_driver(world: World) -> None:
    """While the backend is away its driver cannot check a spec: that is done at the start."""
    await world.stop()
    world.backend = AwayBackend()
    await world.start()
    await world.engine.validate("one", Experiment(name="teams/default/experiments/e"))


class AwayBackend(FakeBackend):
    """A backend that is asked by `validate`, and away then."""

    def driver_class(self) -> type[FakeDriver]:
        class AwayDriver(super().driver_class()):  # type: ignore[misc]
            """Cannot validate."""

            async def validate(self, workload: Workload) -> None:
                raise Unavailable("away", reason="AWAY")

        return AwayDriver


async def test_a_stop_in_the_middle_of_sealing_waits_for_it(tmp_path: Path) -> None:
    """Sealing happens in a thread that nobody can cancel: its files are closed only after it."""

    class SlowWriter:
        """Seals slowly."""

        log: list[str] = []  # noqa: RUF012

        def seal(self) -> None:
            time.sleep(0.2)
            self.log.append("sealed")

        def close(self) -> None:
            self.log.append("closed")

    class SlowJournals:
        """Makes slow writers."""

        def writer(self, uid: str, attempt: int) -> SlowWriter:
            return SlowWriter()

    driver = FakeBackend().driver_class()()
    collector = LogCollector(driver, SlowJournals(), lambda uid: None)  # type: ignore[arg-type]
    sealing = asyncio.create_task(collector.seal(Run(experiment_uid="u", attempt=1)))
    await asyncio.sleep(0.05)
    sealing.cancel()
    await asyncio.gather(sealing, return_exceptions=True)
    await collector.close()
    assert SlowWriter.log == ["sealed", "closed"]


async def test_nothing_is_remembered_of_what_is_over(world: World) -> None:
    """After 500 experiments of every fate, the engine's memory is as empty as it was."""
    earlier = of_engines()
    await world.restart()
    experiment = retrying(1)
    experiment.spec.queue_timeout.seconds = 3600
    uids = []
    for _ in range(500):
        copy = Experiment()
        copy.CopyFrom(experiment)
        uids.append(await world.create(copy))
    for number, uid in enumerate(uids):
        await world.submitted(uid)
        world.set(uid, "RUNNING")
        if number % 5 == 0:
            await world.change(uid, DELETING)
        elif number % 5 == 1:
            await world.change(uid, CANCELLING)
        elif number % 5 == 2:
            world.backend.vanish((uid, 1))
        elif number % 5 == 3:
            world.set(uid, "FAILED", exit_code=1)
        else:
            world.set(uid, "SUCCEEDED")
    for number, uid in enumerate(uids):
        if number % 5 in (2, 3):
            await world.submitted(uid, 2)
            world.set(uid, "FAILED", attempt=2, exit_code=1)
    await until(lambda: not now(world.store.unsettled("one")))
    await until(lambda: not world.backend.runs)
    await asyncio.sleep(0.1)
    found = [each for each in of_engines() if not any(each is other for other in earlier)]
    assert sorted(type(each).__name__ for each in found) == ["LogCollector", "Memory", "WorkQueue"]
    for each in found:
        if isinstance(each, Memory):
            assert each == Memory()
        elif isinstance(each, WorkQueue):
            assert not len(each)
            assert (each._timers, each._failures, each._again) == ({}, {}, set())
        else:
            assert each._collections == {}


def of_engines() -> list[Memory | WorkQueue | LogCollector]:
    """Everything that engines keep of experiments, wherever it is."""
    gc.collect()
    kinds = (Memory, WorkQueue, LogCollector)
    return [each for each in gc.get_objects() if isinstance(each, kinds)]
