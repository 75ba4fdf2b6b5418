"""What the tasks of a run mean for the run: one pure function for every backend.

A run succeeds when all of its tasks have succeeded. The first task that fails decides: the run
has failed, with that task's exit code, and whatever still runs is to be stopped. Tasks that were
stopped by the control plane (cancelled) count as over and decide nothing by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

RUNNING = "running"
SUCCEEDED = "succeeded"
FAILED = "failed"
CANCELLED = "cancelled"

_OVER = frozenset((SUCCEEDED, FAILED, CANCELLED))


class TaskView(NamedTuple):
    """What the policy looks at of one task.

    Attributes:
        role: the task's role.
        index: its number within the role.
        state: `queued`, `starting`, `running`, `succeeded`, `failed` or `cancelled`.
        end_time: when its process ended, in seconds; 0 where that is not known.
    """

    role: str
    index: int  # type: ignore[assignment]
    state: str
    end_time: float


class Verdict(NamedTuple):
    """What the tasks mean for their run.

    Attributes:
        outcome: `running`, `succeeded` or `failed`. A run whose tasks are over, none of them
            failed but some cancelled, is `failed` without a first failure: it was stopped.
        first_failure: the failed task that ended first.
        stop: the tasks to stop, since another one failed.
    """

    outcome: str
    first_failure: TaskView | None
    stop: tuple[TaskView, ...]


def decide(tasks: Iterable[TaskView]) -> Verdict:
    """Returns what all tasks of a run mean for it.

    Args:
        tasks: every task of the run, those that have not started too.
    """
    views = tuple(tasks)
    active = tuple(view for view in views if view.state not in _OVER)
    failures = [view for view in views if view.state == FAILED]
    if failures:
        return Verdict(FAILED, min(failures, key=_failed_at), active)
    if active or not views:
        return Verdict(RUNNING, None, ())
    if all(view.state == SUCCEEDED for view in views):
        return Verdict(SUCCEEDED, None, ())
    return Verdict(FAILED, None, ())


def _failed_at(view: TaskView) -> tuple[bool, float, str, int]:
    """Orders failures by time; those without a time come last, then role and index decide."""
    return (view.end_time <= 0, view.end_time, view.role, view.index)
