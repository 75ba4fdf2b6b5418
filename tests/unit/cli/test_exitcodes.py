"""Exit codes that CI can use: one number for every way in which an experiment ends."""

from __future__ import annotations

import pytest

from subgrpc.cli.exitcodes import of_experiment
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentState, TaskFailure

FAILED = ExperimentState.EXPERIMENT_STATE_FAILED


def test_success_is_0_and_cancelled_is_130() -> None:
    """As a shell says it of a program that was interrupted."""
    assert of_experiment(Experiment(state=ExperimentState.EXPERIMENT_STATE_SUCCEEDED)) == 0
    assert of_experiment(Experiment(state=ExperimentState.EXPERIMENT_STATE_CANCELLED)) == 130


@pytest.mark.parametrize(
    ("reason", "failure", "code"),
    [
        ("ExitCode", TaskFailure(reason="ExitCode", exit_code=3), 3),
        ("ExitCode", TaskFailure(reason="ExitCode", exit_code=255), 255),
        ("Signal", TaskFailure(reason="Signal", signal=9), 137),
        ("Signal", TaskFailure(reason="Signal", signal=15), 143),
        ("OutOfMemory", TaskFailure(reason="OutOfMemory", signal=9), 137),
        ("OutOfMemory", TaskFailure(reason="OutOfMemory"), 137),
        ("Timeout", TaskFailure(reason="Timeout", signal=15), 124),
        ("Timeout", TaskFailure(reason="Timeout", exit_code=7), 124),
        ("QueueTimeout", TaskFailure(), 124),
        ("CommandNotFound", TaskFailure(reason="CommandNotFound", exit_code=127), 127),
        ("CommandNotExecutable", TaskFailure(reason="CommandNotExecutable"), 126),
        ("Lost", TaskFailure(reason="Lost"), 1),
        ("DriverError", TaskFailure(), 1),
        ("ExitCode", TaskFailure(reason="ExitCode", exit_code=0), 1),
        ("ExitCode", TaskFailure(reason="ExitCode", exit_code=-1073741819), 1),
    ],
)
def test_a_failure_has_the_code_of_the_task_that_failed_first(
    reason: str, failure: TaskFailure, code: int
) -> None:
    """Signals as shells count them; never 0."""
    assert of_experiment(Experiment(state=FAILED, reason=reason, first_failure=failure)) == code
