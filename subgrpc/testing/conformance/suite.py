"""What the tests of the contract share: workloads, waiting, reading, and what an author may say."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import pytest

from subgrpc.driver import (
    Driver,
    Gone,
    LogChunk,
    Observation,
    Run,
    Synced,
    TaskKey,
    Workload,
)
from subgrpc.errors import FieldViolation, InvalidSpec, NotFound, SubgrpcError, Unavailable
from subgrpc.names import new_uid
from subgrpc.testing.programs import Step, program
from subgrpc.v1.types_pb2 import LogStream, Resources, TaskState, TaskStatus

CONTROL_PLANE = "contract"
ENDED = (
    TaskState.TASK_STATE_SUCCEEDED,
    TaskState.TASK_STATE_FAILED,
    TaskState.TASK_STATE_CANCELLED,
)
MAIN = TaskKey("main", 0)
STDOUT, STDERR = LogStream.LOG_STREAM_STDOUT, LogStream.LOG_STREAM_STDERR
CHUNK = 64 * 1024
"""Most bytes of one chunk."""
Condition = Callable[[Observation], bool]
StartDriver = Callable[[], Awaitable[Driver]]
T = TypeVar("T")


def all_in(*states: TaskState.ValueType) -> Condition:
    """A condition: every task is in one of these states."""
    return lambda observation: all(task.state in states for task in observation.tasks)


RUNNING = all_in(TaskState.TASK_STATE_RUNNING)
OVER = all_in(*ENDED)


def shown(task: TaskStatus) -> str:
    """A task's status, for the message of a failure."""
    code = task.exit_code if task.HasField("exit_code") else None
    state = TaskState.Name(task.state).removeprefix("TASK_STATE_")
    return (
        f"{task.role}-{task.index} {state} (reason {task.reason!r}, exit code {code}, "
        f"signal {task.signal}, message {task.message!r})"
    )


@contextlib.contextmanager
def refused_as(kind: type[SubgrpcError], otherwise: str) -> Iterator[None]:
    """Asserts that an error is raised; `otherwise` is what the driver did wrong if not."""
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{otherwise}: it has to raise {kind.__name__}")


class Suite:
    """What the tests share; a subclass may widen `patience`, in seconds, and override the rest."""

    patience = 20.0
    sleeper: Sequence[str] = ("sleep", "600")
    """A command that does nothing for long."""

    def outage(self) -> AbstractAsyncContextManager[None]:
        """Cuts the drivers off from their backend until the context is left: override it.

        Programs that run in the backend go on meanwhile.
        """
        pytest.skip("this backend cannot be cut off: `outage` is not overridden")

    async def leftovers(self, driver: Driver, run: Run) -> list[str]:
        """Names whatever the backend still has of a run, its processes too: override it."""
        return []

    async def exposed(self, driver: Driver, run: Run) -> bytes:
        """All that a reader of the backend's objects sees of a run, but its output: override it."""
        return b""

    def workload(self, *args: str, replicas: int = 1, role: str = "main") -> Workload:
        """Returns a workload of one role that the backend has room for."""
        workload = Workload(control_plane_id=CONTROL_PLANE, experiment_uid=new_uid(), attempt=1)
        workload.experiment_name = "teams/default/experiments/contract"
        workload.termination_grace_period.FromSeconds(5)
        self.add_role(workload, role, *args, replicas=replicas)
        return workload

    def add_role(self, workload: Workload, role: str, *args: str, replicas: int = 1) -> None:
        """Adds a role to a workload."""
        group = workload.groups.add(role=role, replicas=replicas, args=args or self.sleeper)
        group.resources.CopyFrom(Resources(cpu="10m", memory="64Mi"))

    def does(self, *steps: Step, arguments: Sequence[str] = (), replicas: int = 1) -> Workload:
        """Returns a workload of a program."""
        return self.workload(*program(*steps, arguments=arguments), replicas=replicas)

    async def run_of(self, driver: Driver, workload: Workload) -> Run:
        """Prepares a workload."""
        return Run(
            control_plane_id=workload.control_plane_id,
            experiment_uid=workload.experiment_uid,
            attempt=workload.attempt,
            handle=await driver.prepare(workload),
        )

    async def submit(
        self, driver: Driver, workload: Workload, secrets: Mapping[str, bytes] | None = None
    ) -> Run:
        """Prepares and submits a workload; what is left of it goes at the end of the test."""
        run = await self.run_of(driver, workload)
        self.submitted.append(run)
        await driver.submit(workload, run, secrets or {})
        return run

    @property
    def submitted(self) -> list[Run]:
        """Every run that this test has submitted."""
        runs: list[Run] = self.__dict__.setdefault("_submitted", [])
        return runs

    async def until(
        self, driver: Driver, run: Run, condition: Condition, failure: str = ""
    ) -> Observation:
        """Waits until a run is as a test wants it."""
        last: list[Observation] = []

        async def met() -> Observation | None:
            last[:] = [await driver.get(run)]
            return last[0] if condition(last[0]) else None

        def story() -> str:
            return f"{failure} its tasks are: " + "; ".join(map(shown, last[0].tasks))

        return await self.eventually(met, story)

    async def eventually(
        self, look: Callable[[], Awaitable[T | None]], story: Callable[[], str] = lambda: ""
    ) -> T:
        """Waits until something is there."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.patience
        while True:
            found = await look()
            if found is not None:
                return found
            assert clock() < deadline, f"it did not happen within {self.patience:g} s. {story()}"
            await asyncio.sleep(0.01)

    async def ended(self, driver: Driver, run: Run) -> list[TaskStatus]:
        """Waits until every task has ended."""
        return list((await self.until(driver, run, OVER)).tasks)

    async def first_chunk(
        self, driver: Driver, run: Run, stream: LogStream.ValueType = STDOUT
    ) -> bytes:
        """Waits for the first output of the first task."""
        async for piece in driver.logs(run, MAIN, stream, 0, follow=True):
            assert isinstance(piece, LogChunk), f"output was lost: {piece}"
            return piece.data
        raise AssertionError("a follower of a task that runs came to an end without any output")

    async def chunks(
        self,
        driver: Driver,
        run: Run,
        stream: LogStream.ValueType = STDOUT,
        offset: int = 0,
        *,
        task: TaskKey = MAIN,
        follow: bool = True,
    ) -> list[LogChunk]:
        """Reads a stream of a task to its end; offsets have to be without holes."""
        found: list[LogChunk] = []

        async def read() -> None:
            place = offset
            async for piece in driver.logs(run, task, stream, offset, follow):
                assert isinstance(piece, LogChunk), f"output was lost: {piece}"
                assert piece.offset == place, (
                    f"a chunk stands at byte {piece.offset}; the one before ended at {place}"
                )
                assert piece.data, "a chunk without bytes came"
                assert len(piece.data) <= CHUNK, f"a chunk of {len(piece.data)} bytes came"
                place += len(piece.data)
                found.append(piece)

        try:
            await asyncio.wait_for(read(), self.patience)
        except (TimeoutError, asyncio.TimeoutError):
            raise AssertionError(
                f"logs() from byte {offset} did not end within {self.patience:g} s, "
                f"after {len(found)} chunks"
            ) from None
        return found

    async def output(
        self,
        driver: Driver,
        run: Run,
        stream: LogStream.ValueType = STDOUT,
        offset: int = 0,
        *,
        task: TaskKey = MAIN,
        follow: bool = True,
    ) -> bytes:
        """As `chunks`, and returns the bytes."""
        found = await self.chunks(driver, run, stream, offset, task=task, follow=follow)
        return b"".join(piece.data for piece in found)

    async def not_found(self, driver: Driver, run: Run) -> None:
        """Asserts that there is no such run."""
        with contextlib.suppress(NotFound):
            observation = await driver.get(run)
            raise AssertionError(f"get() knows a run that must not exist: {observation}")

    async def refused(self, driver: Driver, workload: Workload) -> list[FieldViolation]:
        """Asserts that `validate` refuses a workload; returns its violations."""
        try:
            await driver.validate(workload)
        except InvalidSpec as error:
            return list(error.violations)
        raise AssertionError(f"validate() takes a workload that cannot run: {workload}")

    @contextlib.asynccontextmanager
    async def watching(
        self, driver: Driver, control_plane_id: str = CONTROL_PLANE
    ) -> AsyncIterator[list[Observation | Synced | Gone]]:
        """Watches as the engine does: again after Unavailable. Yields the list that grows."""
        seen: list[Observation | Synced | Gone] = []

        async def watch() -> None:
            while True:
                with contextlib.suppress(Unavailable):
                    async for item in driver.watch(control_plane_id):
                        seen.append(item)  # noqa: PERF401 - it never ends
                await asyncio.sleep(0.05)

        task = asyncio.create_task(watch())
        try:
            await self.sees(seen, lambda: Synced() in seen, "watch() never sent Synced")
            yield seen
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def sees(
        self, seen: Sequence[object], condition: Callable[[], bool], failure: str
    ) -> None:
        """Waits until a watch has sent what it should."""

        async def look() -> bool | None:
            return condition() or None

        await self.eventually(look, lambda: f"{failure}; it sent: {seen}")

    async def clean_up(self, driver: Driver) -> None:
        """Deletes every run of the test."""
        for run in self.submitted:
            with contextlib.suppress(SubgrpcError):
                await driver.delete(run)


def states_of(seen: Sequence[Observation | Synced | Gone], run: Run) -> list[int]:
    """The states that a watch told of a run's first task."""
    return [
        item.tasks[0].state
        for item in seen
        if isinstance(item, Observation) and same(item.run, run) and item.tasks
    ]


def same(first: Run, second: Run) -> bool:
    """Whether two runs have the same key."""
    return (first.experiment_uid, first.attempt) == (second.experiment_uid, second.attempt)
