r"""A backend in memory, and the driver of it: scripted by the test, with outages and delays.

::

    backend = FakeBackend()
    plugins.register(backend.plugin())        # the driver is called "fake"
    ...
    backend.observe(("uid", 1), "main", 0, TaskState.TASK_STATE_RUNNING)
    backend.write(("uid", 1), "main", 0, b"hello\n")
    backend.outage = "the network is down"
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import ClassVar

from subgrpc.driver import (
    ClusterConfig,
    Driver,
    DriverDescription,
    Gone,
    LogChunk,
    LogGap,
    Observation,
    Run,
    Synced,
    TaskKey,
    Workload,
)
from subgrpc.errors import AlreadyExists, FieldViolation, InvalidSpec, NotFound, Unavailable
from subgrpc.plugins import hookimpl
from subgrpc.testing.fake_inputs import FakeInputs, Inputs
from subgrpc.testing.fake_logs import length_of, pieces_of
from subgrpc.testing.fake_outputs import FakeOutputs, Taken
from subgrpc.testing.fake_run import FakeRun as FakeRun
from subgrpc.v1.types_pb2 import LogStream, Resources, TaskState, TaskStatus

RunKey = tuple[str, int]
ENDED = (
    TaskState.TASK_STATE_SUCCEEDED,
    TaskState.TASK_STATE_FAILED,
    TaskState.TASK_STATE_CANCELLED,
)


class FakeBackend:
    """The backend that every driver of `driver_class` shares: it outlives them.

    Attributes:
        automatic: tasks run as soon as they are submitted, and end as soon as they are stopped.
            Otherwise nothing happens but what the test says.
        obedient: tasks end as soon as they are stopped; as `automatic`, unless the test sets it.
        holding: while true `prepare` does not return: experiments stay as they are.
        outage: the message of the `Unavailable` that every call raises; empty: none.
        delay: seconds that every call takes.
        violations: what `validate` and `submit` object to.
        calls: (method, run key) of every call of submit, get, stop and delete.
        runs: every run that was submitted and not deleted.
        inputs: the files of inputs that were put.
    """

    def __init__(self, *, automatic: bool = False) -> None:
        self.automatic = automatic
        self.obedient = automatic
        self._going_on = asyncio.Event()
        self._going_on.set()
        self.outage = ""
        self.delay = 0.0
        self.violations: list[FieldViolation] = []
        self.calls: list[tuple[str, RunKey]] = []
        self.runs: dict[RunKey, FakeRun] = {}
        self.inputs: Inputs = {}
        self._changed = asyncio.Event()
        self._log: list[Run] = []

    @property
    def holding(self) -> bool:
        """See above."""
        return not self._going_on.is_set()

    @holding.setter
    def holding(self, holding: bool) -> None:
        if holding:
            self._going_on.clear()
        else:
            self._going_on.set()

    async def let_go(self) -> None:
        """Returns once it is not `holding`."""
        await self._going_on.wait()

    def description(self) -> DriverDescription:
        """What `describe` answers: an endless machine."""
        return DriverDescription(
            driver=FakeDriver.name,
            version="1",
            capabilities=["inputs", "outputs", "separate-streams"],
            platform="fake/fake",
            default_request=Resources(cpu="100m", memory="128Mi"),
        )

    def objections(self, workload: Workload) -> list[FieldViolation]:
        """What `validate` and `submit` refuse in a workload."""
        return self.violations

    def take(self, known: FakeRun) -> None:
        """A run was submitted: if `automatic`, its tasks run."""
        self.runs[_key(known.run)] = known
        self.wake(known.run)
        if self.automatic:
            for task in known.tasks:
                self.observe(_key(known.run), *task, TaskState.TASK_STATE_RUNNING)

    def end(self, known: FakeRun, tasks: Sequence[TaskKey], grace: timedelta) -> None:
        """Tasks were stopped: if `obedient`, they end at once."""
        for key in tasks:
            if self.obedient and known.tasks[key].state not in ENDED:
                cancelled = TaskState.TASK_STATE_CANCELLED
                self.observe(_key(known.run), *key, cancelled, reason="Stopped")

    def driver_class(self) -> type[FakeDriver]:
        """Returns a class of drivers of this backend."""

        class BoundDriver(FakeDriver):
            """A driver of one fake backend."""

            backend = self

        return BoundDriver

    def plugin(self) -> object:
        """Returns a plugin that registers the driver `fake`."""
        driver = self.driver_class()

        class Plugin:
            """Registers the driver."""

            @hookimpl
            def subgrpc_register_drivers(self) -> Mapping[str, type[Driver]]:
                return {FakeDriver.name: driver}

        return Plugin()

    def observe(
        self,
        key: RunKey,
        role: str,
        index: int,
        state: TaskState.ValueType,
        *,
        reason: str = "",
        message: str = "",
        exit_code: int | None = None,
        signal: int = 0,
    ) -> None:
        """Puts a task into a state; times are set as they would be."""
        run = self.runs[key]
        before = run.tasks[TaskKey(role, index)]
        status = TaskStatus(role=role, index=index, state=state, reason=reason, message=message)
        status.signal, status.node = signal, "fake"
        if exit_code is None and state == TaskState.TASK_STATE_SUCCEEDED:
            exit_code = 0
        if exit_code is not None:
            status.exit_code = exit_code
        if before.HasField("start_time"):
            status.start_time.CopyFrom(before.start_time)
        elif state in (TaskState.TASK_STATE_RUNNING, TaskState.TASK_STATE_SUCCEEDED):
            status.start_time.FromNanoseconds(time.time_ns())
        if state in ENDED:
            status.end_time.FromNanoseconds(time.time_ns())
        run.tasks[TaskKey(role, index)] = status
        self.wake(run.run)

    def wait_with(self, key: RunKey, reason: str, message: str) -> None:
        """Says why a run waits."""
        self.runs[key].reason, self.runs[key].message = reason, message
        self.wake(self.runs[key].run)

    def write(
        self,
        key: RunKey,
        role: str,
        index: int,
        data: bytes,
        stream: LogStream.ValueType = LogStream.LOG_STREAM_STDOUT,
    ) -> None:
        """Lets a task write."""
        run = self.runs[key]
        run.output.setdefault((TaskKey(role, index), stream), []).append(data)
        self._ring()

    def lose(
        self,
        key: RunKey,
        role: str,
        index: int,
        length: int,
        stream: LogStream.ValueType = LogStream.LOG_STREAM_STDOUT,
    ) -> None:
        """Lets a task write that many bytes, which the backend then loses: a gap."""
        run = self.runs[key]
        run.output.setdefault((TaskKey(role, index), stream), []).append(length)
        self._ring()

    def vanish(self, key: RunKey) -> None:
        """Lets a run be gone, as if somebody had removed it behind our back."""
        self.wake(self.runs.pop(key).run)

    def wake(self, run: Run) -> None:
        """Tells watchers that a run changed."""
        self._log.append(run)
        self._ring()

    async def enter(self, method: str = "", run: Run | None = None) -> None:
        """What every call goes through: the record, the delay, the outage."""
        if run is not None:
            self.calls.append((method, _key(run)))
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.outage:
            raise Unavailable(self.outage, reason="BACKEND_UNAVAILABLE")

    async def changed(self) -> None:
        """Returns when anything has changed, or after a moment: an outage rings no bell."""
        bell = self._changed
        try:
            await asyncio.wait_for(bell.wait(), 0.05)
        except (TimeoutError, asyncio.TimeoutError):
            return

    def since(self, position: int) -> tuple[list[Run], int]:
        """Returns the runs that changed after a position in the log of changes."""
        return self._log[position:], len(self._log)

    def _ring(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class FakeDriver(FakeInputs, FakeOutputs, Driver):
    """The driver of a `FakeBackend`."""

    name: ClassVar[str] = "fake"
    backend: ClassVar[FakeBackend]

    @classmethod
    def from_config(cls, config: ClusterConfig) -> FakeDriver:
        """Makes a driver; options are ignored."""
        return cls()

    async def describe(self) -> DriverDescription:
        """Says what the backend says of itself."""
        await self.backend.enter()
        return self.backend.description()

    async def validate(self, workload: Workload) -> None:
        """Objects to what `backend.objections` says."""
        violations = self.backend.objections(workload)
        if violations:
            raise InvalidSpec(violations=violations)

    async def prepare(self, workload: Workload) -> bytes:
        """A handle."""
        await self.backend.let_go()
        return f"fake {workload.experiment_uid} {workload.attempt}".encode()

    async def submit(self, workload: Workload, run: Run, secrets: Mapping[str, bytes]) -> None:
        """Takes a run, or adopts it."""
        backend = self.backend
        await backend.enter("submit", run)
        await self.validate(workload)
        known = backend.runs.get(_key(run))
        if known is not None:
            own = Workload()
            own.CopyFrom(workload)
            own.ClearField("labels")  # they may have been changed since
            own.labels.update(known.workload.labels)
            if known.workload != own:
                raise AlreadyExists(f"the run {_key(run)} is another one", reason="RUN_EXISTS")
            return
        await self.check_inputs(workload.inputs)
        tasks = {
            TaskKey(group.role, index): TaskStatus(
                role=group.role, index=index, state=TaskState.TASK_STATE_QUEUED
            )
            for group in workload.groups
            for index in range(group.replicas)
        }
        taken, own = Run(), Workload()
        taken.CopyFrom(run)
        own.CopyFrom(workload)
        backend.take(FakeRun(taken, own, dict(secrets), tasks))

    async def get(self, run: Run) -> Observation:
        """Returns how a run stands."""
        await self.backend.enter("get", run)
        return self._known(run).observation()

    async def watch(self, control_plane_id: str) -> AsyncIterator[Observation | Synced | Gone]:
        """Yields every run, `Synced`, then changes; fails while there is an outage."""
        backend = self.backend
        await backend.enter()
        _, position = backend.since(0)
        for known in tuple(backend.runs.values()):
            if known.run.control_plane_id == control_plane_id:
                yield known.observation()
        yield Synced()
        while True:
            await backend.enter()
            changed, position = backend.since(position)
            for run in changed:
                if run.control_plane_id == control_plane_id:
                    now = backend.runs.get(_key(run))
                    yield Gone(run) if now is None else now.observation()
            if not changed:
                await backend.changed()

    async def logs(
        self, run: Run, task: TaskKey, stream: LogStream.ValueType, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk | LogGap]:
        """Yields what was written."""
        await self.backend.enter()
        known = self._known(run)
        self._check_task(known, task)
        while True:
            await self.backend.enter()
            if self.backend.runs.get(_key(run)) is not known:
                raise NotFound(f"there is no run {_key(run)} any more", reason="RUN_NOT_FOUND")
            ended = known.tasks[TaskKey(*task)].state in ENDED
            for piece in pieces_of(known.output.get((TaskKey(*task), stream), []), offset):
                offset = piece.offset + length_of(piece)
                yield piece
            if ended or not follow:
                return
            await self.backend.changed()

    async def stop(self, run: Run, tasks: Sequence[TaskKey] = (), *, grace: timedelta) -> None:
        """Notes it; an obedient backend ends the tasks at once."""
        await self.backend.enter("stop", run)
        known = self.backend.runs.get(_key(run))
        if known is None:
            return
        known.stops.append((tuple(tasks), grace))
        wanted = [key for key in known.tasks if not tasks or key in tasks]
        self.backend.end(known, wanted, grace)

    async def delete(self, run: Run) -> None:
        """Removes a run."""
        await self.backend.enter("delete", run)
        if _key(run) in self.backend.runs:
            self.backend.vanish(_key(run))

    async def taken(self, run: Run, task: TaskKey) -> Taken:
        """What was taken of a run's outputs."""
        await self.backend.enter()
        known = self._known(run)
        self._check_task(known, task)
        return known.taken

    async def inputs(self) -> Inputs:
        """The backend's inputs."""
        await self.backend.enter()
        return self.backend.inputs

    def _check_task(self, known: FakeRun, task: TaskKey) -> None:
        if TaskKey(*task) not in known.tasks:
            raise NotFound(f"there is no task {task}", reason="TASK_NOT_FOUND")

    def _known(self, run: Run) -> FakeRun:
        known = self.backend.runs.get(_key(run))
        if known is None:
            raise NotFound(f"there is no run {_key(run)}", reason="RUN_NOT_FOUND")
        return known


def _key(run: Run) -> RunKey:
    return run.experiment_uid, run.attempt
