"""What the fake backend keeps of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from subgrpc.driver import Observation, Run, TaskKey, Workload
from subgrpc.testing.fake_outputs import Taken
from subgrpc.v1.types_pb2 import TaskStatus


@dataclass(slots=True)
class FakeRun:
    """A run in the fake backend.

    Attributes:
        secrets: what came with submit.
        tasks: every task's status.
        reason: why the run waits.
        output: what was written, by task and stream; a gap is a number of lost bytes.
        stops: (tasks, grace) of every stop that was asked for.
        taken: what was taken of its outputs: see `fake_outputs.take`.
    """

    run: Run
    workload: Workload
    secrets: dict[str, bytes]
    tasks: dict[TaskKey, TaskStatus]
    reason: str = ""
    message: str = ""
    output: dict[tuple[TaskKey, int], list[bytes | int]] = field(default_factory=dict)
    stops: list[tuple[tuple[TaskKey, ...], timedelta]] = field(default_factory=list)
    taken: Taken = field(default_factory=dict)

    def observation(self) -> Observation:
        """How it stands, as a copy."""
        answer = Observation(run=self.run, reason=self.reason, message=self.message)
        answer.tasks.extend(self.tasks.values())
        return answer
