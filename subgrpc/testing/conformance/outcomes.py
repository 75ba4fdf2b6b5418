"""How a task ended is told as it was: exit code or signal, times, and which task was the first."""

from __future__ import annotations

import asyncio
import signal

from subgrpc.agent.policy import TaskView, decide
from subgrpc.driver import Driver, TaskKey, Workload
from subgrpc.testing.conformance.suite import ENDED, Suite, shown
from subgrpc.testing.programs import Step, die, leave, program, variable, wait
from subgrpc.v1.types_pb2 import TaskState, TaskStatus

SUCCEEDED, FAILED = TaskState.TASK_STATE_SUCCEEDED, TaskState.TASK_STATE_FAILED


class Outcomes(Suite):
    """Exit codes, signals, timeouts, roles."""

    async def outcome(self, driver: Driver, *steps: Step) -> TaskStatus:
        """Runs a program to its end."""
        return await self.outcome_of(driver, self.does(*steps))

    async def outcome_of(self, driver: Driver, workload: Workload) -> TaskStatus:
        """Runs the only task of a workload to its end."""
        run = await self.submit(driver, workload)
        [task] = await self.ended(driver, run)
        return task

    async def test_success(self, driver: Driver) -> None:
        """Exit code 0 is success, and has its times."""
        task = await self.outcome(driver, leave(0))
        assert task.state == SUCCEEDED, shown(task)
        assert task.HasField("exit_code"), "a task that succeeded has no exit code"
        assert task.exit_code == 0, shown(task)
        start, end = task.start_time.ToNanoseconds(), task.end_time.ToNanoseconds()
        assert 0 < start <= end, f"it started at {start} ns and ended at {end} ns"

    async def test_exit_codes(self, driver: Driver) -> None:
        """Every other exit code is a failure, and reported as it is."""
        codes = (1, 2, 126, 127, 255)
        tasks = await asyncio.gather(*(self.outcome(driver, leave(code)) for code in codes))
        for code, task in zip(codes, tasks, strict=True):
            assert task.state == FAILED, f"exit code {code} became {shown(task)}"
            assert task.HasField("exit_code"), f"exit code {code} was lost: {shown(task)}"
            assert task.exit_code == code, f"exit code {code} became {shown(task)}"
            assert (task.reason, task.signal) == ("ExitCode", 0), shown(task)

    async def test_signals(self, driver: Driver) -> None:
        """A process that a signal ended has no exit code, but that signal."""
        signals = (signal.SIGSEGV, signal.SIGTERM)
        tasks = await asyncio.gather(*(self.outcome(driver, die(each)) for each in signals))
        for number, task in zip(signals, tasks, strict=True):
            assert task.state == FAILED, f"signal {number} became {shown(task)}"
            assert (task.reason, task.signal) == ("Signal", number), shown(task)
            assert not task.HasField("exit_code"), f"it has an exit code too: {shown(task)}"

    async def test_no_such_command(self, driver: Driver) -> None:
        """A command that does not exist is told by name, with 127 as a shell has it."""
        task = await self.outcome_of(driver, self.workload("no-such-command-anywhere"))
        assert (task.state, task.reason) == (FAILED, "CommandNotFound"), shown(task)
        assert task.exit_code == 127, shown(task)
        assert "no-such-command-anywhere" in task.message, shown(task)

    async def test_no_program(self, driver: Driver) -> None:
        """What is there but cannot be executed is told by name, with 126."""
        task = await self.outcome_of(driver, self.workload("/dev/null"))
        assert (task.state, task.reason) == (FAILED, "CommandNotExecutable"), shown(task)
        assert task.exit_code == 126, shown(task)
        assert "/dev/null" in task.message, shown(task)

    async def test_timeout(self, driver: Driver) -> None:
        """A task that runs longer than its timeout fails with that reason; others do not."""
        slow, quick = self.workload(), self.does(leave(0))
        for workload, milliseconds in ((slow, 300), (quick, 60_000)):
            workload.timeout.FromMilliseconds(milliseconds)
        first, second = await asyncio.gather(
            self.outcome_of(driver, slow), self.outcome_of(driver, quick)
        )
        assert (first.state, first.reason) == (FAILED, "Timeout"), shown(first)
        assert second.state == SUCCEEDED, shown(second)

    async def test_roles_and_replicas(self, driver: Driver) -> None:
        """Every replica of every role is a task of its own that knows which it is."""
        names = ("SUBGRPC_ROLE", "SUBGRPC_INDEX", "SUBGRPC_REPLICAS", "SUBGRPC_ATTEMPT")
        args = program(*map(variable, names))
        workload = self.workload(*args, replicas=2)
        self.add_role(workload, "worker", *args)
        run = await self.submit(driver, workload)
        tasks = await self.ended(driver, run)
        found = sorted((task.role, task.index) for task in tasks)
        wanted = [("main", 0), ("main", 1), ("worker", 0)]
        assert found == wanted, f"get() has the tasks {found}"
        replicas = {"main": 2, "worker": 1}
        for task in tasks:
            assert task.state == SUCCEEDED, shown(task)
            key = TaskKey(task.role, task.index)
            words = (await self.output(driver, run, task=key)).split(b"\0")[:-1]
            expected = [task.role, str(task.index), str(replicas[task.role]), "1"]
            assert [word.decode() for word in words] == expected, (
                f"in task {task.role}-{task.index} {names} are {words}"
            )

    async def test_the_first_failure_is_known(self, driver: Driver) -> None:
        """The task that failed first decides: its end has the earliest time, and its own code.

        A backend that itself stops the others says of them that they were CANCELLED.
        """
        workload = self.workload(*program(wait(0.8), leave(4)))
        self.add_role(workload, "worker", *program(wait(0.1), leave(3)))
        run = await self.submit(driver, workload)
        tasks = await self.ended(driver, run)
        verdict = decide(_view(task) for task in tasks)
        story = "; ".join(map(shown, tasks))
        assert verdict.outcome == "failed", f"no failure in: {story}"
        first = verdict.first_failure
        assert first is not None, f"no task has failed: {story}"
        assert first[:2] == ("worker", 0), f"worker-0 failed first, and not {first}: {story}"
        [worker] = [task for task in tasks if task.role == "worker"]
        assert worker.exit_code == 3, shown(worker)

    async def test_an_end_is_final(self, driver: Driver) -> None:
        """How a task ended does not change any more."""
        run = await self.submit(driver, self.does(leave(1)))
        before = await self.ended(driver, run)
        await asyncio.sleep(0.2)
        after = list((await driver.get(run)).tasks)
        assert before == after, f"it was {shown(before[0])}, and became {shown(after[0])}"


_WORDS = {SUCCEEDED: "succeeded", FAILED: "failed", ENDED[2]: "cancelled"}


def _view(task: TaskStatus) -> TaskView:
    ended = task.end_time.seconds + task.end_time.nanos / 1e9
    return TaskView(task.role, task.index, _WORDS[task.state], ended)
