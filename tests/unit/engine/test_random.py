"""Everything at random: create, cancel, delete, task changes, outages, lost runs, restarts.

The seeds are fixed; what the event loop makes of them is not. What must hold always is checked
while it happens and at the end, when the backend is well and every task has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from subgrpc.driver import Run
from subgrpc.engine import Engine
from subgrpc.errors import FailedPrecondition, NotFound
from subgrpc.metastore import Metastore
from subgrpc.services.experiments import Experiments
from subgrpc.services.watch import Watches
from subgrpc.testing.fake import FakeBackend
from subgrpc.tokens import TokenCodec
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentInput
from subgrpc.v1.spec_pb2 import Input
from subgrpc.v1.types_pb2 import TaskState

from .conftest import World, now, until

STEPS = 150
LIVE = (
    TaskState.TASK_STATE_QUEUED,
    TaskState.TASK_STATE_STARTING,
    TaskState.TASK_STATE_RUNNING,
)
ENDED = (
    api.EXPERIMENT_STATE_SUCCEEDED,
    api.EXPERIMENT_STATE_FAILED,
    api.EXPERIMENT_STATE_CANCELLED,
)
TEAM = "teams/default"


class JealousBackend(FakeBackend):
    """A backend that notes when two attempts of one experiment are alive at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.overlaps: list[str] = []

    def wake(self, run: Run) -> None:
        """Looks at every change."""
        alive = [number for uid, number in self.alive() if uid == run.experiment_uid]
        if len(alive) > 1:
            self.overlaps.append(f"{run.experiment_uid}: {alive}")
        super().wake(run)

    def alive(self) -> list[tuple[str, int]]:
        """Runs with a task that has not ended."""
        return [
            key
            for key, run in self.runs.items()
            if any(task.state in LIVE for task in run.tasks.values())
        ]


class Clusters:
    """The engine as the use cases see it."""

    clusters: Collection[str] = ("one",)
    default_cluster = "one"

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def validate(self, cluster: str, experiment: Experiment) -> None:
        await self.engine.validate(cluster, experiment)

    def wake(self, experiment: Experiment) -> None:
        self.engine.wake(experiment.uid, experiment.cluster)


class NoInputs:
    """There are none."""

    async def resolve(self, team: str, inputs: Sequence[Input]) -> Sequence[ExperimentInput]:
        raise AssertionError(f"nobody asked for {inputs}")


class NoSecrets:
    """There are none."""

    def exists(self, team: str, name: str) -> bool:
        return False


class Watcher:
    """Watches everything; breaks off again and again, and goes on with its token."""

    def __init__(self, chance: random.Random) -> None:
        self.changes: list[tuple[int, int, str, str]] = []
        self.bodies: list[Experiment] = []
        self._chance = chance
        self._token = ""
        self._task: asyncio.Task[None] | None = None

    def start(self, store: Metastore, tokens: TokenCodec) -> None:
        self._task = asyncio.create_task(self._run(Watches(store, tokens, asyncio.Event(), 5)))

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self, watches: Watches) -> None:
        while True:
            left = self._chance.randint(1, 30)
            request = api.WatchExperimentsRequest(parent=TEAM, resume_token=self._token)
            async with contextlib.aclosing(watches.watch(request)) as frames:
                async for raw in frames:
                    self._take(api.WatchExperimentsResponse.FromString(raw))
                    left -= 1
                    if not left:
                        break

    def _take(self, frame: api.WatchExperimentsResponse) -> None:
        self._token = frame.resume_token
        if frame.HasField("change"):
            change = frame.change
            seen = (change.revision, change.type, change.experiment.uid, change.experiment.etag)
            # A token stands between revisions: of one with many changes some may come again.
            if seen not in self.changes[-20:]:
                self.changes.append(seen)
                self.bodies.append(change.experiment)


class Chaos:
    """One run of the test."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.backend = JealousBackend()
        self.world = World(folder)
        self.world.backend = self.backend
        self.watcher = Watcher(random.Random(seed + 1))
        self.names: dict[str, str] = {}
        self.experiments: Experiments

    async def start(self) -> None:
        await self.world.start()
        store = self.world.store
        tokens = TokenCodec(store.identity.token_key, store.identity.history_id)
        clusters = Clusters(self.world.engine)
        self.experiments = Experiments(store, tokens, clusters, NoSecrets(), NoInputs())
        self.watcher.start(store, tokens)

    async def stop(self) -> None:
        await self.watcher.stop()
        await self.world.stop()

    async def step(self) -> None:
        """One random thing, and a moment for the others."""
        likely = {
            self.task: 60,
            self.create: 25,
            self.cancel: 8,
            self.delete: 8,
            self.moods: 6,
            self.outage: 4,
            self.vanish: 2,
            self.restart: 2,
        }
        await self.chance.choices(list(likely), list(likely.values()))[0]()
        await asyncio.sleep(self.chance.choice([0, 0, 0.001, 0.005, 0.01]))

    async def create(self) -> None:
        request = api.CreateExperimentRequest(parent=TEAM)
        spec, chance = request.experiment.spec, self.chance
        spec.task_groups.add(role="main", command="x", replicas=chance.choice([1, 1, 2, 3]))
        if chance.random() < 0.5:
            spec.retry_policy.max_retries = chance.randint(1, 3)
            spec.retry_policy.initial_backoff.FromMilliseconds(chance.choice([1, 20, 200]))
        if chance.random() < 0.15:
            spec.queue_timeout.FromMilliseconds(chance.choice([5, 50, 300]))
        made = api.CreateExperimentResponse.FromString(
            await self.experiments.create(request, "me")
        ).experiment
        self.names[made.uid] = made.name

    async def cancel(self) -> None:
        with contextlib.suppress(NotFound):
            await self.experiments.cancel(api.CancelExperimentRequest(name=self.any()), "me")

    async def delete(self) -> None:
        force = self.chance.random() < 0.6
        with contextlib.suppress(NotFound, FailedPrecondition):
            request = api.DeleteExperimentRequest(name=self.any(), force=force)
            await self.experiments.delete(request, "me")

    async def task(self) -> None:
        """A task goes on, or ends."""
        alive = self.backend.alive()
        if not alive:
            return
        key = self.chance.choice(alive)
        self.backend.write(key, "main", 0, b"line\n")
        tasks = [task for task in self.backend.runs[key].tasks.values() if task.state in LIVE]
        task = self.chance.choice(tasks)
        state = self.chance.choice(
            [task.state + 1, TaskState.TASK_STATE_SUCCEEDED, TaskState.TASK_STATE_FAILED]
        )
        self.backend.observe(key, "main", task.index, state, reason="ExitCode")

    async def outage(self) -> None:
        self.backend.outage = "away" if not self.backend.outage else ""

    async def vanish(self) -> None:
        if self.backend.runs:
            self.backend.vanish(self.chance.choice(list(self.backend.runs)))

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def moods(self) -> None:
        """The backend becomes slow or quick, obedient or not."""
        self.backend.delay = self.chance.choice([0, 0, 0.002, 0.01])
        self.backend.obedient = self.chance.random() < 0.7

    def any(self) -> str:
        return self.chance.choice(list(self.names.values()) or [f"{TEAM}/experiments/none"])

    async def heal(self) -> None:
        """The backend is well, and whatever comes to run there ends."""
        self.backend.outage, self.backend.delay, self.backend.obedient = "", 0, True
        deadline = asyncio.get_running_loop().time() + 15
        while now(self.world.store.unsettled("one")) or self.backend.runs:
            left = [self.world.get(uid) for uid in now(self.world.store.unsettled("one"))]
            assert asyncio.get_running_loop().time() < deadline, (left, self.backend.runs)
            for key in self.backend.alive():
                for task in list(self.backend.runs[key].tasks.values()):
                    if task.state in LIVE:
                        state = TaskState.TASK_STATE_SUCCEEDED
                        self.backend.observe(key, "main", task.index, state)
            await asyncio.sleep(0.01)


def check_watched(chaos: Chaos) -> None:
    """The watcher has got every change, once, in order, and states go forward only."""
    store = chaos.world.store
    expected, behind = [], 0
    while changes := now(store.changes_after(behind, 1000)):
        behind = changes[-1].revision
        for change in changes:
            body = Experiment.FromString(change.after or change.before or b"")
            kind = api.CHANGE_TYPE_MODIFIED
            if change.before is None:
                kind = api.CHANGE_TYPE_ADDED
            elif change.after is None:
                kind = api.CHANGE_TYPE_REMOVED
            expected.append((change.revision, kind, body.uid, body.etag))
    assert chaos.watcher.changes == expected
    states = defaultdict(list)
    attempts = defaultdict(list)
    for body in chaos.watcher.bodies:
        states[body.uid].append(body.state)
        attempts[body.uid].append(body.attempt)
    for uid, seen in states.items():
        for before, after in pairwise(seen):
            if before in ENDED:
                assert after in (before, api.EXPERIMENT_STATE_DELETING), seen
            if before == api.EXPERIMENT_STATE_DELETING:
                assert after == before, seen
            if before == api.EXPERIMENT_STATE_CANCELLING:
                assert after in (before, *ENDED[2:], api.EXPERIMENT_STATE_DELETING), seen
        assert attempts[uid] == sorted(attempts[uid])


def check_history(chaos: Chaos, uid: str) -> None:
    """The events of an experiment tell how it came to its state."""
    experiment, events = chaos.world.get(uid), chaos.world.events(uid)
    assert experiment is not None
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[0].type == "Created"
    kinds = [event.type for event in events]
    assert kinds.count("AttemptCreated") == experiment.attempt
    assert experiment.state in ENDED
    assert (events[-1].type, events[-1].state) == ("StateChanged", experiment.state)
    assert [event.state in ENDED for event in events].count(True) == 1
    assert [row.number for row in now(chaos.world.store.attempts(uid))] == list(
        range(1, experiment.attempt + 1)
    )


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_whatever_happens(tmp_path: Path, seed: int) -> None:
    """All come to an end, attempts never overlap, and watchers and histories know all of it."""
    chaos = Chaos(tmp_path, seed * 1000)
    await chaos.start()
    for _ in range(STEPS):
        await chaos.step()
    await chaos.heal()
    store = chaos.world.store
    await until(lambda: (chaos.watcher.changes or [(0,)])[-1][0] >= last_change(store))
    assert not chaos.backend.overlaps
    check_watched(chaos)
    for uid in chaos.names:
        if chaos.world.get(uid) is not None:
            check_history(chaos, uid)
        for row in now(store.attempts(uid)):
            assert chaos.world.journals.reader(uid, row.number).sealed
    await chaos.stop()


def last_change(store: Metastore) -> int:
    """The revision of the newest change."""
    newest = behind = 0
    while changes := now(store.changes_after(behind, 1000)):
        newest = behind = changes[-1].revision
    return newest
