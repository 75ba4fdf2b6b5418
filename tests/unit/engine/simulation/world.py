"""One simulated history: what happens, step by step, and what has to hold throughout."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from subgrpc import names
from subgrpc.metastore import Metastore, Transaction
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentEvent
from subgrpc.v1.spec_pb2 import OutputWhen
from subgrpc.v1.types_pb2 import TaskState, TaskStatus
from tests.unit.engine.conftest import now

from .backend import POISON, Backend, Claim, Key
from .servers import START, Server, TroubledShelf

QUEUED, CANCELLING = api.EXPERIMENT_STATE_QUEUED, api.EXPERIMENT_STATE_CANCELLING
CANCELLED, DELETING = api.EXPERIMENT_STATE_CANCELLED, api.EXPERIMENT_STATE_DELETING
ENDED = (api.EXPERIMENT_STATE_SUCCEEDED, api.EXPERIMENT_STATE_FAILED, CANCELLED)
HEALED_WITHIN = 900.0
"""Seconds, of virtual time, until everything has ended once the faults have ceased."""


class World:
    """Up to two servers, a backend, and experiments of one cluster."""

    def __init__(
        self, number: int, seed: int, store: Metastore, folder: Path, *, shared: bool
    ) -> None:
        self.cluster = f"c{number}"
        self.store = store
        self.folder = folder / self.cluster
        self.backend = Backend(seed, self.claim)
        self.shelf = TroubledShelf(self.backend)
        store.shared = shared
        self.names = ("a", "b") if shared else ("a",)
        self.servers: dict[str, Server] = {}
        self.uids: list[str] = []
        self.latest: dict[str, Experiment] = {}
        self.tasks: dict[tuple[str, int, str, int], TaskStatus] = {}
        self.revision = store.revision

    async def begin(self) -> None:
        """Starts the servers."""
        for name in self.names:
            await self.start(name)

    async def start(self, name: str) -> None:
        server = Server(name, self.cluster, self.backend, self.store, self.folder, self.shelf)
        self.servers[name] = server
        await server.engine.start()

    async def end(self) -> None:
        """Stops everything."""
        for server in self.servers.values():
            await server.stop()

    def claim(self, key: Key) -> Claim:
        """The start claim: no task of an attempt that has ended, or is not the latest, starts."""
        rows = now(self.store.attempts(key[0]))
        if not rows:
            return Claim.UNKNOWN
        granted = rows[-1].number == key[1] and rows[-1].end_time is None
        return Claim.GRANTED if granted else Claim.REFUSED

    # Steps

    async def do_create(self, kind: int, more: int) -> None:
        """A user creates an experiment."""
        experiment, uid = Experiment(), names.new_uid()
        self.uids.append(uid)
        experiment.name, experiment.uid = f"teams/default/experiments/e-{uid}", uid
        experiment.cluster, experiment.state = f"clusters/{self.cluster}", QUEUED
        experiment.create_time.FromMicroseconds(self.store.clock())
        command = POISON if kind == 7 else "x"
        experiment.spec.task_groups.add(role="main", command=command, replicas=1 + kind % 2)
        if kind in (2, 5):
            experiment.spec.task_groups.add(role="worker", command="y")
        experiment.spec.retry_policy.max_retries = more % 3
        experiment.spec.retry_policy.initial_backoff.FromMilliseconds((1, 500, 5000)[more % 3])
        if kind in (1, 3):
            when = OutputWhen.OUTPUT_WHEN_ALWAYS if more % 2 else OutputWhen.OUTPUT_WHEN_ON_SUCCESS
            experiment.spec.outputs.add(name="model", role="main", every_task=True, when=when)
        if kind == 6:
            experiment.spec.queue_timeout.FromMilliseconds(800)
        await self.store.write(lambda tx: tx.insert_experiment(experiment))
        self.wake(uid)

    async def do_proceed(self, number: int, outcome: int) -> None:
        """Tasks go on."""
        self.backend.proceed(number, outcome)

    async def do_wait(self, length: int, more: int) -> None:
        """Time passes."""
        await asyncio.sleep((0.0, 0.01, 0.3, 1.1, 3.0, 7.0, 31.0, 0.1)[length])

    async def do_cancel(self, number: int, more: int) -> None:
        """A user cancels."""
        await self.change(number, CANCELLING)

    async def do_delete(self, number: int, more: int) -> None:
        """A user deletes, with force."""
        await self.change(number, DELETING)

    async def do_trouble(self, much: int, more: int) -> None:
        """The network becomes better or worse."""
        self.backend.trouble = (0.0, 0.1, 0.3, 0.6)[much % 4]
        self.backend.obedient = more % 4 != 0

    async def do_outage(self, number: int, more: int) -> None:
        """The backend cannot be reached, or can be again."""
        self.backend.outage = not self.backend.outage
        if self.backend.outage:
            self.backend.break_watches()

    async def do_break_watches(self, number: int, more: int) -> None:
        """Watches begin anew."""
        self.backend.break_watches()

    async def do_vanish(self, number: int, more: int) -> None:
        """Somebody removes a run."""
        self.backend.vanish(number)

    async def do_crash(self, number: int, more: int) -> None:
        """A server is killed, and started again, at once or when it comes to it."""
        name = self.names[number % len(self.names)]
        await self.servers[name].die()
        if more % 2:
            await asyncio.sleep(more)
        await self.start(name)

    async def do_restart(self, number: int, more: int) -> None:
        """A server is stopped in good order, and started again."""
        name = self.names[number % len(self.names)]
        await self.servers[name].stop()
        await self.start(name)

    async def do_cut(self, number: int, more: int) -> None:
        """A server cannot reach the database, or can again."""
        link = self.servers[self.names[number % len(self.names)]].link
        link.cut = not link.cut

    async def change(self, number: int, state: api.ExperimentState.ValueType) -> None:
        """As the use cases: what has ended is not cancelled, what is being deleted stays so."""
        if not self.uids:
            return
        uid = self.uids[number % len(self.uids)]

        def mutate(tx: Transaction) -> None:
            experiment = tx.experiment(uid)
            if experiment is None or experiment.state == DELETING:
                return
            if state == CANCELLING and experiment.state in (*ENDED, CANCELLING):
                return
            experiment.state = state
            experiment.reason = "Cancelled" if state == CANCELLING else "Deleted"
            tx.save_experiment(experiment)

        await self.store.write(mutate)
        self.wake(uid)

    def wake(self, uid: str) -> None:
        """Tells the servers, as their metastore does."""
        for server in self.servers.values():
            if not server.link.dead:
                server.engine.wake(uid, self.cluster)

    # What has to hold

    async def check(self) -> None:
        """Looks at every change since the last check, and at the backend."""
        while changes := await self.store.changes_after(self.revision, 1000):
            for change in changes:
                assert change.revision >= self.revision, "revisions go back"
                self.revision = change.revision
                self.take(change.before, change.after)
        assert not self.backend.wrongs, self.backend.wrongs
        for uid, experiment in self.latest.items():
            alive = self.backend.alive(uid)
            assert len(alive) < 2, f"attempts {alive} of {uid} are alive at once"
            self.check_tasks(uid, experiment.attempt)
            if experiment.state in ENDED:
                assert not alive, f"{uid} is {experiment.state}, and attempt {alive} may run"

    def check_tasks(self, uid: str, attempt: int) -> None:
        """Tasks go forward only, and how one ended stays."""
        for task in now(self.store.task_statuses(uid, attempt)):
            key = uid, attempt, task.role, task.index
            old = self.tasks.get(key, task)
            assert task.state >= old.state, f"{key} goes back from {old.state} to {task.state}"
            if old.state >= TaskState.TASK_STATE_SUCCEEDED:
                assert task == old, f"the end of {key} changes: {old} -> {task}"
            self.tasks[key] = task

    def take(self, before: bytes | None, after: bytes | None) -> None:
        """One change of one experiment."""
        if after is None:
            uid = Experiment.FromString(before or b"").uid
            gone = self.latest.pop(uid, None)
            assert gone is None or gone.state == DELETING, f"{uid} is removed, and nobody asked"
            return
        new = Experiment.FromString(after)
        old = self.latest.get(new.uid)
        if old is not None:
            step = f"{old.state} ({old.reason}) -> {new.state} ({new.reason})"
            if old.state in ENDED:
                same = (new.state, new.reason) == (old.state, old.reason)
                assert same or new.state == DELETING, f"a terminal state is left: {step}"
            if old.state == DELETING:
                assert new.state == DELETING, f"a deletion is forgotten: {step}"
            if old.state == CANCELLING:
                allowed = (CANCELLING, CANCELLED, DELETING)
                assert new.state in allowed, f"a cancel is forgotten: {step}"
            assert old.attempt <= new.attempt <= old.attempt + 1, f"attempts: {step}"
        for role in new.roles:
            counts = (role.pending, role.running, role.succeeded, role.failed, role.cancelled)
            assert sum(counts) == role.replicas, f"{role} does not add up"
            assert min(counts) >= 0, f"{role} has less than none"
        if new.state in ENDED:
            assert new.HasField("end_time"), "what has ended has no time of its end"
            assert new.reason or new.state == ENDED[0], "what failed has no reason"
        self.latest[new.uid] = new

    async def heal(self) -> None:
        """The faults cease: everything comes to its end."""
        backend = self.backend
        backend.trouble, backend.outage, backend.obedient = 0.0, False, True
        for server in self.servers.values():
            server.link.cut = False
        backend.break_watches()  # what was told last may have been old
        clock = asyncio.get_running_loop().time
        deadline = clock() + HEALED_WITHIN
        while await self.store.unsettled(self.cluster) or backend.runs:
            await self.check()
            left = [self.latest.get(uid) for uid in await self.store.unsettled(self.cluster)]
            assert clock() < deadline, f"these do not end: {left}, with {backend.runs}"
            backend.finish_all()
            await asyncio.sleep(1.0)
        await self.check()
        for uid in self.uids:
            if uid in self.latest:
                await self.check_history(self.latest[uid])

    async def check_history(self, experiment: Experiment) -> None:
        """The events tell how it came to its end; the counts are those of its tasks."""
        uid = experiment.uid
        assert experiment.state in ENDED, f"{uid} has not ended"
        page = await self.store.list_events(uid, after=0, limit=1000)
        events = [ExperimentEvent.FromString(raw) for raw in page.items]
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        ends = [event.state for event in events if event.state in ENDED]
        assert ends == [experiment.state], f"the history of {uid} ends {len(ends)} times"
        if experiment.spec.outputs and experiment.state == ENDED[0]:
            stored = {each.task: each.artifact for each in experiment.outputs}
            tasks = [f"main-{n}" for n in range(experiment.spec.task_groups[0].replicas)]
            assert sorted(stored) == tasks, f"{uid} names the outputs of {sorted(stored)}"
            for task, artifact in stored.items():
                assert self.shelf.artifacts[artifact][1] == {"of": task.encode()}
        created = [event.attempt for event in events if event.type == "AttemptCreated"]
        assert created == list(range(1, experiment.attempt + 1)), f"attempts: {created}"
        if experiment.attempt:
            tasks = await self.store.task_statuses(uid, experiment.attempt)
            failed = sum(task.state == TaskState.TASK_STATE_FAILED for task in tasks)
            over = sum(task.state == TaskState.TASK_STATE_SUCCEEDED for task in tasks)
            counted = [sum(role.failed for role in experiment.roles)]
            counted.append(sum(role.succeeded for role in experiment.roles))
            assert counted == [failed, over], f"{uid} counts {counted}, has {failed}, {over}"
        for row in await self.store.attempts(uid):
            assert row.settled, f"attempt {row.number} of {uid} is not settled"
            assert row.end_time is not None
            assert START <= row.create_time <= row.end_time, f"times of {row}"


async def live(world: World, steps: list[tuple[str, int, int]]) -> None:
    """Lives through a history."""
    await world.begin()
    try:
        for name, first, second in steps:
            await getattr(world, f"do_{name}")(first, second)
            await world.check()
        await world.heal()
    finally:
        with contextlib.suppress(Exception):
            await world.end()
