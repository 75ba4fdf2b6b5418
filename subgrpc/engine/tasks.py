"""Sets of task statuses: pure functions that merge, complete and count them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from subgrpc import reasons
from subgrpc.v1.experiment_service_pb2 import Experiment
from subgrpc.v1.types_pb2 import TaskState, TaskStatus
from subgrpc.workloads import replicas_of, role_of

TASK_TERMINAL = frozenset(
    {TaskState.TASK_STATE_SUCCEEDED, TaskState.TASK_STATE_FAILED, TaskState.TASK_STATE_CANCELLED}
)


def never_started(experiment: Experiment) -> list[TaskStatus]:
    """Every task of a run that was no longer wanted before the driver had it: CANCELLED."""
    tasks = every_task(experiment, ())
    for task in tasks:
        task.state = TaskState.TASK_STATE_CANCELLED
        task.reason, task.message = reasons.STOPPED, "stopped before it started"
    return tasks


def merge_tasks(
    known: Iterable[TaskStatus], observed: Iterable[TaskStatus]
) -> tuple[list[TaskStatus], list[TaskStatus]]:
    """Returns all tasks by role and index, and those that changed.

    No task goes back to an earlier state, and none that has ended comes to life again.
    """
    merged = {(task.role, task.index): task for task in known}
    changed = []
    for task in observed:
        before = merged.get((task.role, task.index))
        if before is not None and (
            before.state in TASK_TERMINAL or task.state < before.state or task == before
        ):
            continue
        merged[task.role, task.index] = task
        changed.append(task)
    return [merged[key] for key in sorted(merged)], changed


def lose_tasks(
    experiment: Experiment, known: Sequence[TaskStatus], message: str
) -> list[TaskStatus]:
    """Every task of a run that its backend no longer knows: what had not ended is Lost."""
    lost = []
    for task in every_task(experiment, known):
        status = TaskStatus()
        status.CopyFrom(task)
        if task.state not in TASK_TERMINAL:
            status.state = TaskState.TASK_STATE_FAILED
            status.reason = reasons.LOST
            status.message = message
        lost.append(status)
    return lost


def count_roles(experiment: Experiment, tasks: Iterable[TaskStatus]) -> None:
    """Fills in `roles` from the spec and the tasks; a task that is not known yet is pending."""
    del experiment.roles[:]
    roles = {}
    for group in experiment.spec.task_groups:
        replicas = replicas_of(group)
        roles[role_of(group)] = experiment.roles.add(
            role=role_of(group), replicas=replicas, pending=replicas
        )
    for task in tasks:
        role = roles.get(task.role)
        if role is None or task.state <= TaskState.TASK_STATE_STARTING:
            continue
        role.pending -= 1
        if task.state == TaskState.TASK_STATE_RUNNING:
            role.running += 1
        elif task.state == TaskState.TASK_STATE_SUCCEEDED:
            role.succeeded += 1
        elif task.state == TaskState.TASK_STATE_FAILED:
            role.failed += 1
        else:
            role.cancelled += 1


def every_task(experiment: Experiment, tasks: Iterable[TaskStatus]) -> list[TaskStatus]:
    """One status for every task of the spec: QUEUED where nothing is known of it."""
    known = {(task.role, task.index): task for task in tasks}
    return [
        known.get((role_of(group), index))
        or TaskStatus(role=role_of(group), index=index, state=TaskState.TASK_STATE_QUEUED)
        for group in experiment.spec.task_groups
        for index in range(replicas_of(group))
    ]


def first_start(tasks: Iterable[TaskStatus]) -> Timestamp | None:
    """When the first process of these tasks started; None if none did."""
    starts = [task.start_time for task in tasks if task.HasField("start_time")]
    return min(starts, key=lambda start: (start.seconds, start.nanos), default=None)
