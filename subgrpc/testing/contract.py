"""The suite that every driver passes: subclass it, give it a fixture `driver`, run it with pytest.

::

    class TestSlurm(ProcessContract):
        @pytest.fixture
        async def driver(self) -> AsyncIterator[Driver]:
            driver = SlurmDriver.from_config(...)
            await driver.start()
            yield driver
            await driver.close()

`DriverContract` needs nothing but a backend that keeps runs; `ProcessContract` adds what is seen
of real processes: exit codes, signals, output. Tests are coroutines: pytest-asyncio in auto mode.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar

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
from subgrpc.errors import AlreadyExists, NotFound
from subgrpc.names import new_uid
from subgrpc.v1.types_pb2 import LogStream, Resources, TaskState, TaskStatus

CONTROL_PLANE = "contract"
ENDED = (
    TaskState.TASK_STATE_SUCCEEDED,
    TaskState.TASK_STATE_FAILED,
    TaskState.TASK_STATE_CANCELLED,
)
MAIN = TaskKey("main", 0)
T = TypeVar("T")


def all_in(*states: TaskState.ValueType) -> Callable[[Observation], bool]:
    """A condition: every task is in one of these states."""
    return lambda observation: all(task.state in states for task in observation.tasks)


RUNNING = all_in(TaskState.TASK_STATE_RUNNING)


class Suite:
    """What the tests of a contract share; a subclass may widen `patience`, in seconds."""

    patience = 20.0
    sleeper: Sequence[str] = ("sleep", "600")
    """A command that does nothing for long."""

    def workload(self, *args: str, replicas: int = 1, role: str = "main") -> Workload:
        """Returns a workload of one role that the backend has room for."""
        workload = Workload(control_plane_id=CONTROL_PLANE, experiment_uid=new_uid(), attempt=1)
        workload.experiment_name = "teams/default/experiments/contract"
        workload.termination_grace_period.FromSeconds(5)
        group = workload.groups.add(role=role, replicas=replicas, args=args or self.sleeper)
        group.resources.CopyFrom(Resources(cpu="10m", memory="64Mi"))
        return workload

    async def submit(
        self, driver: Driver, workload: Workload, secrets: dict[str, bytes] | None = None
    ) -> Run:
        """Prepares and submits a workload."""
        run = Run(
            control_plane_id=workload.control_plane_id,
            experiment_uid=workload.experiment_uid,
            attempt=workload.attempt,
            handle=await driver.prepare(workload),
        )
        await driver.submit(workload, run, secrets or {})
        return run

    async def until(
        self, driver: Driver, run: Run, condition: Callable[[Observation], bool]
    ) -> Observation:
        """Waits until a run is as a test wants it."""

        async def met() -> Observation | None:
            observation = await driver.get(run)
            return observation if condition(observation) else None

        return await self.eventually(met)

    async def eventually(self, look: Callable[[], Awaitable[T | None]]) -> T:
        """Waits until something is there."""
        deadline = time.monotonic() + self.patience
        while True:
            found = await look()
            if found is not None:
                return found
            assert time.monotonic() < deadline, "it did not happen in time"
            await asyncio.sleep(0.01)

    async def first_chunk(
        self, driver: Driver, run: Run, stream: LogStream.ValueType = LogStream.LOG_STREAM_STDOUT
    ) -> bytes:
        """Waits for the first output of the first task."""
        async for piece in driver.logs(run, MAIN, stream, 0, follow=True):
            assert isinstance(piece, LogChunk)
            return piece.data
        raise AssertionError("there is no output")

    async def output(
        self,
        driver: Driver,
        run: Run,
        stream: LogStream.ValueType = LogStream.LOG_STREAM_STDOUT,
        offset: int = 0,
    ) -> bytes:
        """Follows a stream of the first task to its end; offsets have to be without holes."""
        data = bytearray()
        async for piece in driver.logs(run, MAIN, stream, offset, follow=True):
            assert isinstance(piece, LogChunk)
            assert piece.offset == offset + len(data)
            assert 0 < len(piece.data) <= 64 * 1024
            data += piece.data
        return bytes(data)

    async def ended(self, driver: Driver, run: Run) -> list[TaskStatus]:
        """Waits until every task has ended."""
        return list((await self.until(driver, run, all_in(*ENDED))).tasks)


class DriverContract(Suite):
    """What holds for every backend that keeps runs."""

    async def test_describes_itself(self, driver: Driver) -> None:
        """A driver names itself, its platform, and what a task gets that asks for nothing."""
        description = await driver.describe()
        assert description.driver == driver.name
        assert description.platform
        assert description.default_request.cpu
        assert description.default_request.memory

    async def test_prepare_is_pure(self, driver: Driver) -> None:
        """A handle is the same each time, and makes no run."""
        workload = self.workload()
        handle = await driver.prepare(workload)
        assert handle == await driver.prepare(workload)
        run = Run(
            control_plane_id=CONTROL_PLANE,
            experiment_uid=workload.experiment_uid,
            attempt=1,
            handle=handle,
        )
        await self.not_found(driver, run)

    async def test_unknown_runs(self, driver: Driver) -> None:
        """Of an unknown run `get` and `logs` say NotFound; to stop or delete it does nothing."""
        run = Run(control_plane_id=CONTROL_PLANE, experiment_uid=new_uid(), attempt=1)
        await self.not_found(driver, run)
        try:
            async for _ in driver.logs(run, MAIN, LogStream.LOG_STREAM_STDOUT, 0, follow=True):
                break
        except NotFound:
            pass
        else:
            raise AssertionError("the logs of an unknown run exist")
        await driver.stop(run, grace=timedelta(0))
        await driver.delete(run)

    async def test_submit_is_idempotent(self, driver: Driver) -> None:
        """The same run submitted again, or twice at once, is adopted, and runs once."""
        workload = self.workload(replicas=2)
        run = await self.submit(driver, workload)
        await asyncio.gather(*(driver.submit(workload, run, {}) for _ in range(3)))
        before = await self.until(driver, run, RUNNING)
        await driver.submit(workload, run, {})
        after = await driver.get(run)
        assert [task.start_time for task in after.tasks] == [t.start_time for t in before.tasks]
        assert [(task.role, task.index) for task in after.tasks] == [("main", 0), ("main", 1)]
        await driver.delete(run)

    async def test_a_run_key_is_taken_once(self, driver: Driver) -> None:
        """The run key of one workload is refused to another."""
        workload = self.workload()
        run = await self.submit(driver, workload)
        workload.groups[0].args.append("more")
        try:
            await driver.submit(workload, run, {})
        except AlreadyExists:
            pass
        else:
            raise AssertionError("two workloads have the same run key")
        await driver.delete(run)

    async def test_stop_ends_tasks(self, driver: Driver) -> None:
        """A stopped task is CANCELLED, with a time, and stays so; to stop it again is fine."""
        run = await self.submit(driver, self.workload())
        await self.until(driver, run, RUNNING)
        await driver.stop(run, grace=timedelta(seconds=5))
        [task] = await self.ended(driver, run)
        assert task.state == TaskState.TASK_STATE_CANCELLED
        assert task.HasField("end_time")
        await driver.stop(run, grace=timedelta(0))
        assert list((await driver.get(run)).tasks) == [task]
        await driver.delete(run)

    async def test_stop_of_one_task(self, driver: Driver) -> None:
        """Only the tasks that are named are stopped."""
        run = await self.submit(driver, self.workload(replicas=2))
        await self.until(driver, run, RUNNING)
        await driver.stop(run, [TaskKey("main", 1)], grace=timedelta(seconds=5))
        found = await self.until(driver, run, lambda seen: seen.tasks[1].state in ENDED)
        assert found.tasks[0].state == TaskState.TASK_STATE_RUNNING
        assert found.tasks[1].state == TaskState.TASK_STATE_CANCELLED
        await driver.delete(run)

    async def test_delete_is_final(self, driver: Driver) -> None:
        """A deleted run is gone, even if it was running; to delete it again is fine."""
        run = await self.submit(driver, self.workload())
        await self.until(driver, run, RUNNING)
        await driver.delete(run)
        await self.not_found(driver, run)
        await driver.delete(run)

    async def test_watch(self, driver: Driver) -> None:
        """A watch yields what is there, `Synced`, changes up to the end, and that a run is gone."""
        first = await self.submit(driver, self.workload())
        foreign = self.workload()
        foreign.control_plane_id = "another"
        other = await self.submit(driver, foreign)
        seen: list[Observation | Synced | Gone] = []

        async def watch() -> None:
            async for item in driver.watch(CONTROL_PLANE):
                seen.append(item)  # noqa: PERF401 - it never ends

        def last_state(run: Run) -> Callable[[], Awaitable[int | None]]:
            async def look() -> int | None:
                states = [
                    item.tasks[0].state
                    for item in seen
                    if isinstance(item, Observation) and item.run == run
                ]
                return states[-1] if states and states[-1] in ENDED else None

            return look

        async def is_gone() -> bool | None:
            return Gone(first) in seen or None

        watching = asyncio.create_task(watch())
        try:
            second = await self.submit(driver, self.workload())
            await self.until(driver, second, RUNNING)
            await driver.stop(second, grace=timedelta(seconds=5))
            assert await self.eventually(last_state(second)) == TaskState.TASK_STATE_CANCELLED
            await driver.delete(first)
            await self.eventually(is_gone)
        finally:
            watching.cancel()
        synced = seen.index(Synced())
        assert [item.run for item in seen[:synced] if isinstance(item, Observation)][:1] == [first]
        assert all(item.run != other for item in seen if not isinstance(item, Synced))
        await driver.delete(second)
        await driver.delete(other)

    async def not_found(self, driver: Driver, run: Run) -> None:
        """Asserts that there is no such run."""
        try:
            await driver.get(run)
        except NotFound:
            return
        raise AssertionError("the run exists")


class ProcessContract(DriverContract):
    """What holds for every backend that runs processes."""

    async def outcome(self, driver: Driver, *args: str) -> TaskStatus:
        """Runs a command to its end."""
        run = await self.submit(driver, self.workload(*args))
        [task] = await self.ended(driver, run)
        await driver.delete(run)
        return task

    async def test_success(self, driver: Driver) -> None:
        """Exit code 0 is success."""
        task = await self.outcome(driver, "true")
        assert (task.state, task.exit_code) == (TaskState.TASK_STATE_SUCCEEDED, 0)
        assert task.start_time.ToNanoseconds() <= task.end_time.ToNanoseconds()

    async def test_exit_codes(self, driver: Driver) -> None:
        """Every other exit code is a failure, and reported as it is."""
        for code in (1, 3, 255):
            task = await self.outcome(driver, "sh", "-c", f"exit {code}")
            assert (task.state, task.reason) == (TaskState.TASK_STATE_FAILED, "ExitCode")
            assert (task.exit_code, task.signal) == (code, 0)

    async def test_signals(self, driver: Driver) -> None:
        """A process that a signal ended has no exit code, but that signal."""
        task = await self.outcome(driver, "sh", "-c", "kill -SEGV $$")
        assert (task.state, task.reason, task.signal) == (
            TaskState.TASK_STATE_FAILED,
            "Signal",
            11,
        )
        assert not task.HasField("exit_code")

    async def test_no_such_command(self, driver: Driver) -> None:
        """A command that does not exist is told by name."""
        task = await self.outcome(driver, "no-such-command-anywhere")
        assert (task.state, task.reason) == (TaskState.TASK_STATE_FAILED, "CommandNotFound")
        assert "no-such-command-anywhere" in task.message

    async def test_arguments_are_exact(self, driver: Driver) -> None:
        """No shell reads the argument vector."""
        args = ["a b", "", "$HOME", "*", "'", '"', "new\nline", "ünï"]
        run = await self.submit(driver, self.workload("printf", r"%s\0", *args))
        data = await self.output(driver, run, LogStream.LOG_STREAM_STDOUT)
        assert data == b"".join(arg.encode() + b"\0" for arg in args)
        await driver.delete(run)

    async def test_output(self, driver: Driver) -> None:
        """Both streams come apart, byte for byte, from any offset, also after the end."""
        script = "printf 'a\\000\\377b'; printf err >&2; printf c"
        run = await self.submit(driver, self.workload("sh", "-c", script))
        assert await self.output(driver, run, LogStream.LOG_STREAM_STDOUT) == b"a\x00\xffbc"
        assert await self.output(driver, run, LogStream.LOG_STREAM_STDERR) == b"err"
        assert await self.output(driver, run, LogStream.LOG_STREAM_STDOUT, 4) == b"c"
        await self.ended(driver, run)
        assert await self.output(driver, run, LogStream.LOG_STREAM_STDOUT, 1) == b"\x00\xffbc"
        await driver.delete(run)

    async def test_output_of_a_running_task(self, driver: Driver) -> None:
        """What a task writes is there while it still runs."""
        run = await self.submit(driver, self.workload("sh", "-c", "echo now; sleep 600"))
        logs = driver.logs(run, MAIN, LogStream.LOG_STREAM_STDOUT, 0, follow=True)
        async for piece in logs:
            assert piece == LogChunk(offset=0, data=b"now\n")
            break
        assert (await driver.get(run)).tasks[0].state == TaskState.TASK_STATE_RUNNING
        async for piece in driver.logs(run, MAIN, LogStream.LOG_STREAM_STDOUT, 0, follow=False):
            assert piece == LogChunk(offset=0, data=b"now\n")
        await driver.delete(run)

    async def test_environment(self, driver: Driver) -> None:
        """A task gets its variables, its secrets, and who it is."""
        script = 'echo "$PLAIN $TOKEN $SUBGRPC_ROLE $SUBGRPC_INDEX $SUBGRPC_REPLICAS"'
        workload = self.workload("sh", "-c", script)
        workload.groups[0].env["PLAIN"] = "a=b"
        workload.groups[0].secret_env["TOKEN"] = "teams/default/secrets/token"
        run = await self.submit(driver, workload, {"teams/default/secrets/token": b"\xffs3cret"})
        data = await self.output(driver, run, LogStream.LOG_STREAM_STDOUT)
        assert data == b"a=b \xffs3cret main 0 1\n"
        await driver.delete(run)

    async def test_timeout(self, driver: Driver) -> None:
        """A task that runs longer than its timeout fails with that reason."""
        workload = self.workload()
        workload.timeout.FromMilliseconds(300)
        run = await self.submit(driver, workload)
        [task] = await self.ended(driver, run)
        assert (task.state, task.reason) == (TaskState.TASK_STATE_FAILED, "Timeout")
        await driver.delete(run)

    async def test_term_is_ignored(self, driver: Driver) -> None:
        """A task that ignores SIGTERM is killed after the grace period."""
        run = await self.submit(
            driver, self.workload("sh", "-c", "trap '' TERM; echo ready; sleep 600 & wait; wait")
        )
        async for _ in driver.logs(run, MAIN, LogStream.LOG_STREAM_STDOUT, 0, follow=True):
            break
        await driver.stop(run, grace=timedelta(milliseconds=300))
        [task] = await self.ended(driver, run)
        assert task.state == TaskState.TASK_STATE_CANCELLED
        await driver.delete(run)
