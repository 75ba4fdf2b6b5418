r"""A driver without a backend: its runs do what a test tells them. Public, for third parties too.

backend = FakeBackend()
plugins = PluginManager()
plugins.register(FakePlugin())
# cluster options: {"backend": backend}; a second driver on it is a restarted server
backend.set(uid, "main", 0, TaskState.TASK_STATE_RUNNING)
backend.write(uid, "main", 0, LogStream.LOG_STREAM_STDOUT, b"hello\n")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

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
from subgrpc.errors import (
    AlreadyExists,
    FieldViolation,
    InvalidArgument,
    InvalidSpec,
    NotFound,
    Unavailable,
)
from subgrpc.plugins import hookimpl
from subgrpc.v1.types_pb2 import LogStream, Resources, TaskState, TaskStatus

MAX_CHUNK = 64 * 1024

_OVER = (
    TaskState.TASK_STATE_SUCCEEDED,
    TaskState.TASK_STATE_FAILED,
    TaskState.TASK_STATE_CANCELLED,
)
_Key = tuple[str, int]


@dataclass(slots=True)
class FakeRun:
    """One run of the backend.

    Attributes:
        workload: what was submitted.
        run: its key and handle.
        tasks: by role and index.
        output: what was written, by task and stream.
        secrets: what came with the latest submit.
        stops: every stop that was asked for: its tasks (empty: all) and grace.
        submits: how often it was submitted.
    """

    workload: Workload
    run: Run
    tasks: dict[TaskKey, TaskStatus]
    output: dict[tuple[TaskKey, int], bytearray] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    stops: list[tuple[tuple[TaskKey, ...], timedelta]] = field(default_factory=list)
    submits: int = 1


class FakeBackend:
    """What runs; outlives the drivers on it. Used on one event loop."""

    def __init__(self, *, obedient: bool = True) -> None:
        """`obedient`: a task that is stopped is CANCELLED at once; else the test decides."""
        self.runs: dict[_Key, FakeRun] = {}
        self.deleted: list[_Key] = []
        self.prepared: list[_Key] = []
        self.obedient = obedient
        self.refuse: str = ""
        """If not empty, `validate` refuses every workload with this text."""
        self.lose_submits = False
        """While true, `submit` raises Unavailable and takes nothing."""
        self._outage = False
        self._changed: dict[asyncio.Event, list[_Key]] = {}

    def run(self, uid: str, attempt: int = 1) -> FakeRun:
        """A run that was submitted."""
        return self.runs[uid, attempt]

    @property
    def outage(self) -> bool:
        """While true every call raises Unavailable, and watches end with it."""
        return self._outage

    @outage.setter
    def outage(self, value: bool) -> None:
        self._outage = value
        self._ring(None)

    def check(self) -> None:
        """Raises Unavailable during an outage."""
        if self._outage:
            raise Unavailable("the fake backend is away", reason="FAKE_OUTAGE", retry_after=0.1)

    def set(
        self,
        uid: str,
        role: str,
        index: int,
        state: TaskState.ValueType,
        *,
        attempt: int = 1,
        reason: str = "",
        message: str = "",
        exit_code: int | None = None,
    ) -> None:
        """Puts a task into a state; RUNNING sets its start time, an end its end time."""
        task = self.runs[uid, attempt].tasks[TaskKey(role, index)]
        task.state, task.reason, task.message = state, reason, message
        if exit_code is not None:
            task.exit_code = exit_code
        if state >= TaskState.TASK_STATE_RUNNING and not task.HasField("start_time"):
            task.start_time.GetCurrentTime()
        if state in _OVER:
            task.end_time.GetCurrentTime()
        self._ring((uid, attempt))

    def write(
        self,
        uid: str,
        role: str,
        index: int,
        stream: LogStream.ValueType,
        data: bytes,
        *,
        attempt: int = 1,
    ) -> None:
        """Adds output to a task."""
        output = self.runs[uid, attempt].output
        output.setdefault((TaskKey(role, index), stream), bytearray()).extend(data)
        self._ring((uid, attempt))

    def forget(self, uid: str, attempt: int = 1) -> None:
        """The run vanishes, as if somebody had removed it from outside."""
        self.runs.pop((uid, attempt), None)
        self._ring((uid, attempt))

    def listen(self) -> tuple[asyncio.Event, list[_Key]]:
        """An event that is set at every change, and the runs that changed."""
        event = asyncio.Event()
        self._changed[event] = []
        return event, self._changed[event]

    def unlisten(self, event: asyncio.Event) -> None:
        """Ends `listen`."""
        self._changed.pop(event, None)

    def _ring(self, key: _Key | None) -> None:
        for event, keys in self._changed.items():
            if key is not None:
                keys.append(key)
            event.set()


class FakeDriver(Driver):
    """A driver on a `FakeBackend`."""

    name = "fake"

    def __init__(self, backend: FakeBackend) -> None:
        self.backend = backend

    @classmethod
    def from_config(cls, config: ClusterConfig) -> FakeDriver:
        """Takes the option `backend`.

        Raises:
            InvalidArgument: it is missing or no FakeBackend.
        """
        backend = config.options.get("backend")
        if not isinstance(backend, FakeBackend):
            raise InvalidArgument(violations=[FieldViolation("backend", "must be a FakeBackend")])
        return cls(backend)

    async def describe(self) -> DriverDescription:
        """A cluster of 8 cores."""
        self.backend.check()
        return DriverDescription(
            driver=self.name,
            version="1",
            platform="fake/none",
            capacity=Resources(cpu="8", memory="16Gi"),
            default_request=Resources(cpu="100m", memory="128Mi"),
        )

    async def validate(self, workload: Workload) -> None:
        """Refuses what the backend is told to refuse."""
        if self.backend.refuse:
            violation = FieldViolation("groups[0].resources.cpu", self.backend.refuse)
            raise InvalidSpec(violations=[violation])

    async def prepare(self, workload: Workload) -> bytes:
        """The run key as text."""
        self.backend.check()
        self.backend.prepared.append((workload.experiment_uid, workload.attempt))
        return f"{workload.experiment_uid}/{workload.attempt}".encode()

    async def submit(self, workload: Workload, run: Run, secrets: Mapping[str, bytes]) -> None:
        """Takes a run, or adopts it; every task is QUEUED until the test says otherwise."""
        self.backend.check()
        if self.backend.lose_submits:
            raise Unavailable("the fake backend did not take it", reason="FAKE_OUTAGE")
        known = self.backend.runs.get(_key(run))
        if known is not None:
            if known.workload != workload:
                raise AlreadyExists(f"another workload runs as {_key(run)}")
            known.secrets = secrets
            known.submits += 1
            return
        tasks = {
            TaskKey(group.role, index): TaskStatus(
                role=group.role, index=index, state=TaskState.TASK_STATE_QUEUED
            )
            for group in workload.groups
            for index in range(group.replicas)
        }
        self.backend.runs[_key(run)] = FakeRun(workload, run, tasks, secrets=secrets)
        self.backend._ring(_key(run))

    async def get(self, run: Run) -> Observation:
        """How a run stands."""
        self.backend.check()
        return _observation(self._find(run))

    async def watch(self, control_plane_id: str) -> AsyncIterator[Observation | Synced | Gone]:
        """Every change, in order."""
        event, changed = self.backend.listen()
        try:
            self.backend.check()
            known = {}
            for key, found in list(self.backend.runs.items()):
                if found.run.control_plane_id == control_plane_id:
                    known[key] = found.run
                    yield _observation(found)
            yield Synced()
            while True:
                await event.wait()
                event.clear()
                self.backend.check()
                while changed:
                    key = changed.pop(0)
                    current = self.backend.runs.get(key)
                    if current is not None:
                        known[key] = current.run
                        yield _observation(current)
                    elif key in known:
                        yield Gone(known.pop(key))
        finally:
            self.backend.unlisten(event)

    async def logs(
        self, run: Run, task: TaskKey, stream: LogStream.ValueType, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk | LogGap]:
        """What was written, from an offset on."""
        event, _ = self.backend.listen()
        try:
            while True:
                self.backend.check()
                found = self._find(run)
                if task not in found.tasks:
                    raise NotFound(f"the run has no task {task}")
                over = found.tasks[task].state in _OVER
                data = bytes(found.output.get((task, stream), b"")[offset : offset + MAX_CHUNK])
                if data:
                    yield LogChunk(offset=offset, data=data)
                    offset += len(data)
                elif over or not follow:
                    return
                else:
                    await event.wait()
                    event.clear()
        finally:
            self.backend.unlisten(event)

    async def stop(self, run: Run, tasks: Sequence[TaskKey] = (), *, grace: timedelta) -> None:
        """Notes the stop; an obedient backend's tasks are CANCELLED at once."""
        self.backend.check()
        found = self.backend.runs.get(_key(run))
        if found is None:
            return
        found.stops.append((tuple(tasks), grace))
        for key in tasks or list(found.tasks):
            if self.backend.obedient and found.tasks[key].state not in _OVER:
                self.backend.set(
                    run.experiment_uid,
                    key.role,
                    key.index,
                    TaskState.TASK_STATE_CANCELLED,
                    attempt=run.attempt,
                    reason="Stopped",
                )

    async def delete(self, run: Run) -> None:
        """Removes a run."""
        self.backend.check()
        if self.backend.runs.pop(_key(run), None) is not None:
            self.backend.deleted.append(_key(run))
            self.backend._ring(_key(run))

    def _find(self, run: Run) -> FakeRun:
        found = self.backend.runs.get(_key(run))
        if found is None:
            raise NotFound(f"there is no run {_key(run)}", reason="RUN_NOT_FOUND")
        return found


class FakePlugin:
    """Registers the fake driver: `PluginManager.register(FakePlugin())`."""

    @hookimpl
    def subgrpc_register_drivers(self) -> Mapping[str, type[Driver]]:
        """The driver `fake`."""
        return {"fake": FakeDriver}


def _key(run: Run) -> _Key:
    return run.experiment_uid, run.attempt


def _observation(found: FakeRun) -> Observation:
    observation = Observation(run=found.run)
    observation.tasks.extend(found.tasks.values())
    return observation
