"""The exit codes of the `subgrpc` command.

Most commands end with 0, with 1 when subgrpc could not do what was asked, and with 2 when the
command line is wrong. `run` and `wait` end with the code of the experiment, so that CI can use it,
and with 125 for what `env` and `docker run` use it for: subgrpc itself failed.

    0        the experiment succeeded
    1..255   the exit code of the task that failed first, in the role that failed first
    128+N    that task was ended by signal N (137: also when it ran out of memory)
    1        the experiment failed for a reason that has no exit code
    124      it ran (or waited) longer than its timeout, or `wait --timeout` is over
    126,127  its command cannot be executed, was not found
    130      it was cancelled, or the waiting was ended with Ctrl-C
    141      whoever read the output has closed it (128 + SIGPIPE)
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

from subgrpc import reasons

if TYPE_CHECKING:
    from subgrpc.v1.experiment_service_pb2 import Experiment, TaskFailure

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_RUNNING: Final = 3
"""`status`: no server answers. The code is that of `systemctl status`."""
TIMEOUT: Final = 124
OWN_FAILURE: Final = 125
"""`run` and `wait`: subgrpc itself failed."""
INTERRUPTED: Final = 130
CLOSED_PIPE: Final = 128 + signal.SIGPIPE

EXPERIMENT_HELP: Final = """\b
Exit codes:
  0        the experiment succeeded
  1..255   the exit code of the task that failed first
  128+N    that task was ended by signal N (137: also out of memory)
  1        it failed for a reason that has no exit code
  124      it took longer than its timeout
  126 127  its command cannot be executed; was not found
  130      it was cancelled, or this command was interrupted
  125      subgrpc failed: spec refused, no server, ...
  2        the command line is wrong
"""
"""What `run --help` and `wait --help` say."""

_BY_REASON: Final = {
    reasons.TIMEOUT: TIMEOUT,
    reasons.QUEUE_TIMEOUT: TIMEOUT,
    reasons.COMMAND_NOT_EXECUTABLE: 126,
    reasons.COMMAND_NOT_FOUND: 127,
    reasons.OUT_OF_MEMORY: 128 + signal.SIGKILL,
}


def of_experiment(experiment: Experiment) -> int:
    """The exit code that stands for an experiment that has ended."""
    from subgrpc.v1.experiment_service_pb2 import ExperimentState

    if experiment.state == ExperimentState.EXPERIMENT_STATE_SUCCEEDED:
        return OK
    if experiment.state == ExperimentState.EXPERIMENT_STATE_CANCELLED:
        return INTERRUPTED
    failure = experiment.first_failure
    for reason in (experiment.reason, failure.reason):
        if reason in _BY_REASON:
            return _BY_REASON[reason]
    return _of_failure(failure)


def _of_failure(failure: TaskFailure) -> int:
    if failure.signal:
        return 128 + failure.signal
    # A process cannot fail with 0, nor can this one end with more than 255.
    if failure.HasField("exit_code") and 0 < failure.exit_code <= 255:
        return failure.exit_code
    return FAILED
