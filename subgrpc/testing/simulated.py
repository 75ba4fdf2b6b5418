"""A fake backend that carries out the contract's programs: output, exits, signals, timeouts.

What has no program (see `subgrpc.testing.programs`) is a command that does not exist, but for
`sleep`. With `VirtualLoop` no test waits for any of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta

from subgrpc.driver import (
    DriverDescription,
    Run,
    TaskKey,
    Workload,
    WorkloadGroup,
    WorkloadOutput,
)
from subgrpc.errors import FieldViolation
from subgrpc.quantities import format_cpu, parse_cpu
from subgrpc.testing import programs
from subgrpc.testing.fake import ENDED, FakeBackend, FakeRun, RunKey
from subgrpc.testing.fake_outputs import chosen, take
from subgrpc.testing.programs import Step
from subgrpc.v1.types_pb2 import Resources, TaskState, TaskStatus

_SIGNAL_KILL, _SIGNAL_TERM = 9, 15
_START = 0.005
"""Seconds between submit and start."""
_ROOM = Resources(cpu="4", memory="64Gi")


class SimulatedBackend(FakeBackend):
    """A machine of four cores: runs start when there is room, in their order, and do their work."""

    def __init__(self) -> None:
        super().__init__(automatic=True)
        self.processes: dict[tuple[RunKey, TaskKey], Process] = {}

    def description(self) -> DriverDescription:
        """A machine with an end."""
        answer = super().description()
        answer.capacity.CopyFrom(_ROOM)
        answer.allocated.cpu = format_cpu(self._used())
        answer.options_schema.update({"type": "object", "additionalProperties": False})
        return answer

    def objections(self, workload: Workload) -> list[FieldViolation]:
        """What no backend can run, and what this one has no room for."""
        found = list(self.violations)
        found += [FieldViolation(f"options.{name}", "unknown") for name in workload.options]
        if not workload.groups:
            found.append(FieldViolation("groups", "there is none"))
        for number, group in enumerate(workload.groups):
            path = f"groups[{number}]"
            if not group.replicas:
                found.append(FieldViolation(f"{path}.replicas", "at least 1 is needed"))
            if not group.args:
                found.append(FieldViolation(f"{path}.args", "there is no command"))
            if parse_cpu(group.resources.cpu or "0") * group.replicas > parse_cpu(_ROOM.cpu):
                found.append(FieldViolation(f"{path}.resources.cpu", "more than there is"))
        return found

    def take(self, known: FakeRun) -> None:
        """A run waits, and starts a little later if there is room."""
        self.runs[key_of(known)] = known
        self.wake(known.run)
        asyncio.get_running_loop().call_later(_START, self._start_all)

    def end(self, known: FakeRun, tasks: Sequence[TaskKey], grace: timedelta) -> None:
        """What waits never starts; what runs gets a SIGTERM."""
        for task in tasks:
            process = self.processes.get((key_of(known), task))
            if process is not None:
                process.stop(grace.total_seconds())
            elif known.tasks[task].state not in ENDED:
                state = TaskState.TASK_STATE_CANCELLED
                self.observe(key_of(known), *task, state, reason="Stopped")

    def vanish(self, key: RunKey) -> None:
        """A run goes, with its processes."""
        for each, process in tuple(self.processes.items()):
            if each[0] == key:
                process.kill()
                del self.processes[each]
        super().vanish(key)
        self._start_all()

    def leftovers(self, run: Run) -> list[str]:
        """What there is of a run."""
        key = run.experiment_uid, run.attempt
        found = [f"the run {key}"] if key in self.runs else []
        return found + [f"a process of {task}" for each, task in self.processes if each == key]

    def exposed(self, run: Run) -> bytes:
        """What anybody may read of a run."""
        known = self.runs[run.experiment_uid, run.attempt]
        return known.run.SerializeToString() + known.workload.SerializeToString()

    def environment(self, process: Process) -> dict[str, bytes]:
        """What a task finds in its environment."""
        group, known = process.group, self.runs[process.key]
        return {
            **{name: value.encode() for name, value in group.env.items()},
            **{name: known.secrets[key] for name, key in group.secret_env.items()},
            "SUBGRPC_ROLE": process.task.role.encode(),
            "SUBGRPC_INDEX": str(process.task.index).encode(),
            "SUBGRPC_REPLICAS": str(group.replicas).encode(),
            "SUBGRPC_ATTEMPT": str(known.run.attempt).encode(),
        }

    def argument(self, text: str) -> str:
        """An argument as a task gets it."""
        return text

    def input_files(self, process: Process) -> dict[str, bytes]:
        """What a task finds in $SUBGRPC_INPUT_DIR, by path."""
        return {
            f"{each.name}/{path}": data
            for each in self.runs[process.key].workload.inputs
            for path, data in self.inputs[each.digest].items()
        }

    def take_output(self, process: Process, output: WorkloadOutput, *, final: bool) -> int:
        """Takes an output of a task; returns how many files it has."""
        known = self.runs[process.key]
        files = chosen(output, process.files)
        if files:
            sequence = process.taken[output.name] = process.taken.get(output.name, 0) + 1
            take(known.taken, process.task, output.name, files, sequence=sequence, final=final)
        return len(files)

    def ended(self, process: Process, status: TaskStatus) -> None:
        """A process has ended: so has its task."""
        del self.processes[process.key, process.task]
        self.observe(
            process.key,
            *process.task,
            status.state,
            reason=status.reason,
            message=status.message,
            signal=status.signal,
            exit_code=status.exit_code if status.HasField("exit_code") else None,
        )
        self._start_all()

    def _start_all(self) -> None:
        for key, known in tuple(self.runs.items()):
            waits = [t for t, each in known.tasks.items() if each.state <= 1]
            if not waits:
                continue
            if self._used() + cpu_of(known, waits) > parse_cpu(_ROOM.cpu):
                self.wait_with(key, "WaitingForResources", "all cores are taken")
                return
            known.reason = known.message = ""
            for task in waits:
                self.observe(key, *task, TaskState.TASK_STATE_RUNNING)
                self.processes[key, task] = Process(self, known, task)

    def _used(self) -> int:
        keys = tuple(self.processes)
        return sum(cpu_of(self.runs[key], [task]) for key, task in keys if key in self.runs)


class Process:
    """One task at work."""

    def __init__(self, backend: SimulatedBackend, known: FakeRun, task: TaskKey) -> None:
        self.key, self.task = key_of(known), task
        self._backend = backend
        self._known = known
        self.group = group_of(known, task)
        self._ignores_term = False
        self._last: Step | None = None
        self.files: dict[str, bytes] = {}
        self.taken: dict[str, int] = {}
        self._stopped = False
        self._work = asyncio.create_task(self._run())
        self._killer: asyncio.TimerHandle | None = None
        self._checkpoints = [
            asyncio.create_task(self._take_again_and_again(output))
            for output in self._outputs()
            if output.HasField("interval")
        ]

    def stop(self, grace: float) -> None:
        """SIGTERM, and SIGKILL after the grace period."""
        self._stopped = True
        loop = asyncio.get_running_loop()
        if self._last is not None:
            self._farewell = asyncio.ensure_future(self._say_farewell(self._last))
        if self._ignores_term or self._last is not None:
            self._killer = self._killer or loop.call_later(grace, self._end, 0, _SIGNAL_KILL)
        else:
            self._end(0, _SIGNAL_TERM)

    def kill(self) -> None:
        """Ends it without a word."""
        self._work.cancel()
        for checkpoint in self._checkpoints:
            checkpoint.cancel()
        if self._killer is not None:
            self._killer.cancel()

    async def _run(self) -> None:
        args = list(self.group.args)
        if args[0] == "sleep":
            args = programs.program(programs.wait(float(args[1])))
        found = programs.read(args)
        if found is None:
            self._refuse(args[0])
            return
        timeout = self._known.workload.timeout.ToTimedelta().total_seconds() or None
        try:
            code, signal = await asyncio.wait_for(self._perform(*found), timeout)
        except (TimeoutError, asyncio.TimeoutError):
            self._conclude(TaskStatus(state=TaskState.TASK_STATE_FAILED, reason="Timeout"))
            return
        self._end(code, signal)

    async def _perform(self, steps: Sequence[Step], arguments: Sequence[str]) -> tuple[int, int]:
        """Carries steps out; returns the exit code and the signal that ended it."""
        for step in steps:
            if step.kind == "wait":
                await asyncio.sleep(step.number)
            elif step.kind == "leave":
                return int(step.number), 0
            elif step.kind == "die":
                return 0, int(step.number)
            elif step.kind == "ignore_term":
                self._ignores_term = True
            elif step.kind == "on_term":
                self._last = step
            elif kept := step.kept():
                self.files.update(kept)
            else:
                self._write(self._output(step, arguments), step.stream)
        return 0, 0

    def _output(self, step: Step, arguments: Sequence[str]) -> bytes:
        if step.kind == "arguments":
            return b"".join(self._backend.argument(e).encode() + b"\0" for e in arguments)
        if step.kind == "variable":
            return self._backend.environment(self).get(step.text, b"") + b"\0"
        if step.kind in ("show", "hash_of", "spoil"):
            content = self._backend.input_files(self)[step.text]
            hashed = f"{hashlib.sha256(content).hexdigest()}  -\n".encode()
            return {"show": content, "hash_of": hashed}.get(step.kind, b"")
        return step.written()

    async def _say_farewell(self, step: Step) -> None:
        words, code = json.loads(step.text)
        await asyncio.sleep(step.number)
        self._write(words.encode("latin-1"), 1)
        self._end(code, 0)

    def _write(self, data: bytes, stream: int) -> None:
        if data and not self._over():
            kind = 1 if stream == 1 else 2
            self._backend.write(self.key, *self.task, data, kind)  # type: ignore[arg-type]

    def _refuse(self, command: str) -> None:
        status = TaskStatus(state=TaskState.TASK_STATE_FAILED)
        if command.startswith("/"):
            status.reason, status.exit_code = "CommandNotExecutable", 126
        else:
            status.reason, status.exit_code = "CommandNotFound", 127
        status.message = f"cannot execute {command!r}"
        self._conclude(status)

    def _end(self, code: int, signal: int) -> None:
        status = TaskStatus(signal=signal, message=f"signal {signal}" if signal else f"exit {code}")
        if not signal:
            status.exit_code = code
        if self._stopped:
            status.state, status.reason = TaskState.TASK_STATE_CANCELLED, "Stopped"
        elif signal or code:
            status.state = TaskState.TASK_STATE_FAILED
            status.reason = "Signal" if signal else "ExitCode"
        else:
            status.state = TaskState.TASK_STATE_SUCCEEDED
        self._conclude(status)

    def _outputs(self) -> list[WorkloadOutput]:
        role, index = self.task
        found = self._known.workload.outputs
        return [each for each in found if each.role == role and (each.every_task or index == 0)]

    async def _take_again_and_again(self, output: WorkloadOutput) -> None:
        while True:
            await asyncio.sleep(output.interval.ToTimedelta().total_seconds())
            self._backend.take_output(self, output, final=False)

    def _take_at_last(self, status: TaskStatus) -> None:
        """Takes the outputs; without one that is required a task has not succeeded."""
        succeeded = status.state == TaskState.TASK_STATE_SUCCEEDED
        for output in self._outputs():
            if not (succeeded or output.always):
                continue
            taken = self._backend.take_output(self, output, final=True)
            if succeeded and not (taken or output.optional):
                status.state = TaskState.TASK_STATE_FAILED
                status.reason = "OutputMissing"
                status.message = f"output {output.name!r} has no files"

    def _over(self) -> bool:
        return self._backend.processes.get((self.key, self.task)) is not self

    def _conclude(self, status: TaskStatus) -> None:
        if not self._over():
            self._take_at_last(status)
            self.kill()
            self._backend.ended(self, status)


def key_of(known: FakeRun) -> RunKey:
    """A run's key."""
    return known.run.experiment_uid, known.run.attempt


def group_of(known: FakeRun, task: TaskKey) -> WorkloadGroup:
    """A task's role."""
    return next(group for group in known.workload.groups if group.role == task.role)


def cpu_of(known: FakeRun, tasks: Sequence[TaskKey]) -> int:
    """What tasks need, in millicores."""
    return sum(parse_cpu(group_of(known, task).resources.cpu or "100m") for task in tasks)
