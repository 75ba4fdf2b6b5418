"""What is wrong with stop, delete, and how tasks end."""

# The signatures are those of the methods that are overridden.
# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from subgrpc.driver import Run, TaskKey
from subgrpc.errors import FailedPrecondition
from subgrpc.testing.fake import FakeRun, RunKey
from subgrpc.testing.simulated import Process
from subgrpc.v1.types_pb2 import TaskState, TaskStatus
from tests.unit.testing.broken import Broken, found_by, key


@found_by("stop_before_submit", "unknown_runs")
class StopsWhatItKnowsOnly(Broken):
    class Mixin:
        async def stop(self, run, tasks=(), *, grace):
            await self.get(run)
            await super().stop(run, tasks, grace=grace)


@found_by(
    "stop_of_a_running_task", "stop_of_a_task_that_has_ended",
    "a_stop_and_a_delete_that_are_cancelled",
)  # fmt: skip
class StopsOnce(Broken):
    class Mixin:
        async def stop(self, run, tasks=(), *, grace):
            known = self.backend.runs.get(key(run))
            if known is not None and all(each.state > 3 for each in known.tasks.values()):
                raise FailedPrecondition("it is over")
            await super().stop(run, tasks, grace=grace)


@found_by("stop_of_one_task", "unknown_tasks")
class StopsEveryTask(Broken):
    class Mixin:
        async def stop(self, run, tasks=(), *, grace):
            await super().stop(run, (), grace=grace)


@found_by("stop_of_a_run_that_waits")
class WaitsWithoutAReason(Broken):
    def wait_with(self, key: RunKey, reason: str, message: str) -> None:
        super().wait_with(key, "", message)


@found_by("stop_right_after_submit", "stop_of_a_run_that_waits")
class StopsProcessesOnly(Broken):
    def end(self, known: FakeRun, tasks: Sequence[TaskKey], grace: timedelta) -> None:
        super().end(known, [t for t in tasks if known.tasks[t].state > 1], grace)


@found_by("stop_leaves_time_for_last_words", "stop_of_a_task_that_ignores_it")
class KillsAtOnce(Broken):
    class Mixin:
        async def stop(self, run, tasks=(), *, grace):
            await super().stop(run, tasks, grace=timedelta(0))


@found_by("stop_of_a_task_that_ignores_it")
class NeverKills(Broken):
    class Mixin:
        async def stop(self, run, tasks=(), *, grace):
            await super().stop(run, tasks, grace=timedelta(days=1))


@found_by("stop_leaves_time_for_last_words", "a_missing_output")
class BelievesTheExitCode(Broken):
    def ended(self, process: Process, status: TaskStatus) -> None:
        if status.HasField("exit_code") and status.exit_code == 0:
            status.state = TaskState.TASK_STATE_SUCCEEDED
        super().ended(process, status)


@found_by("stop_of_a_task_that_has_ended")
class CancelsWhatHasEnded(Broken):
    def end(self, known: FakeRun, tasks: Sequence[TaskKey], grace: timedelta) -> None:
        super().end(known, tasks, grace)
        for task in tasks:
            if known.tasks[task].state == TaskState.TASK_STATE_FAILED:
                known.tasks[task].state = TaskState.TASK_STATE_CANCELLED


@found_by(
    "delete_is_final", "delete_of_what_has_ended", "nothing_goes_on_after_a_stop",
    "a_stop_and_a_delete_that_are_cancelled",
)  # fmt: skip
class LeavesObjects(Broken):
    def vanish(self, key: RunKey) -> None:
        super().vanish(key)
        self.objects = [*getattr(self, "objects", ()), key]

    def leftovers(self, run: Run) -> list[str]:
        left = [f"a volume of {each}" for each in getattr(self, "objects", ()) if each == key(run)]
        return super().leftovers(run) + left


@found_by("delete_is_final")
class LeavesProcesses(Broken):
    def vanish(self, key: RunKey) -> None:
        left = {each: process for each, process in self.processes.items() if each[0] == key}
        super().vanish(key)
        self.processes.update(left)


@found_by(
    "delete_is_final", "unknown_runs", "stop_before_submit",
    "a_stop_and_a_delete_that_are_cancelled",
)  # fmt: skip
class DeletesOnce(Broken):
    class Mixin:
        async def delete(self, run):
            await self.get(run)
            await super().delete(run)


@found_by(
    "delete_of_what_has_ended", "nothing_goes_on_after_a_stop", "another_driver_adopts",
    "a_stop_and_a_delete_that_are_cancelled",
)  # fmt: skip
class KeepsWhatHasEnded(Broken):
    class Mixin:
        async def delete(self, run):
            known = self.backend.runs.get(key(run))
            if known is None or any(each.state < 4 for each in known.tasks.values()):
                await super().delete(run)


@found_by("exit_codes", "no_such_command", "no_program")
class MasksExitCodes(Broken):
    def ended(self, process: Process, status: TaskStatus) -> None:
        if status.exit_code > 125:
            status.exit_code = 1
        super().ended(process, status)


@found_by("signals")
class SignalsAreCodes(Broken):
    def ended(self, process: Process, status: TaskStatus) -> None:
        if status.signal:
            status.exit_code, status.signal = 128 + status.signal, 0
        super().ended(process, status)


@found_by("success")
class SuccessHasNoCode(Broken):
    def ended(self, process: Process, status: TaskStatus) -> None:
        super().ended(process, status)
        if status.state == TaskState.TASK_STATE_SUCCEEDED:
            self.runs[process.key].tasks[process.task].ClearField("exit_code")


@found_by("timeout")
class TimeoutsAreSignals(Broken):
    def ended(self, process: Process, status: TaskStatus) -> None:
        if status.reason == "Timeout":
            status.reason, status.signal = "Signal", 15
        super().ended(process, status)


@found_by("no_such_command", "no_program")
class NamesNoCommand(Broken):
    def ended(self, process: Process, status: TaskStatus) -> None:
        status.message = ""
        super().ended(process, status)


@found_by("the_first_failure_is_known")
class KnowsNoTimes(Broken):
    class Mixin:
        async def get(self, run):
            answer = await super().get(run)
            if len(answer.tasks) > 1:
                for task in answer.tasks:
                    task.ClearField("end_time")
            return answer


@found_by("an_end_is_final")
class ForgetsTheCode(Broken):
    def ended(self, process: Process, status: TaskStatus) -> None:
        super().ended(process, status)
        if status.exit_code == 1:
            task = self.runs[process.key].tasks[process.task]
            asyncio.get_running_loop().call_later(0.1, task.ClearField, "exit_code")


@found_by("roles_and_replicas")
class CountsFromOne(Broken):
    def environment(self, process: Process) -> dict[str, bytes]:
        return super().environment(process) | {"SUBGRPC_INDEX": b"1"}
