"""What becomes of an experiment when its tasks are observed: pure functions, no clock, no I/O.

Terminal states absorb, of tasks and of experiments: whatever is observed late, twice or out of
order changes nothing that has ended. Tasks never go back to an earlier state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from subgrpc import names, reasons
from subgrpc.agent.policy import TaskView, decide
from subgrpc.driver import Observation, TaskKey
from subgrpc.engine import keeping
from subgrpc.engine.keeping import NOTHING, Kept
from subgrpc.engine.tasks import count_roles, every_task, first_start, merge_tasks
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentEvent, TaskFailure
from subgrpc.v1.spec_pb2 import RetryPolicy
from subgrpc.v1.types_pb2 import TaskState, TaskStatus

TERMINAL = frozenset(
    {
        api.EXPERIMENT_STATE_SUCCEEDED,
        api.EXPERIMENT_STATE_FAILED,
        api.EXPERIMENT_STATE_CANCELLED,
    }
)
NOT_RETRIED = frozenset(
    {
        reasons.TIMEOUT,
        reasons.QUEUE_TIMEOUT,
        reasons.INVALID_SPEC,
        reasons.INPUT_FAILED,
        reasons.SECRET_NOT_FOUND,
        reasons.CANCELLED,
        reasons.DELETED,
    }
)
FIRST_BACKOFF = timedelta(seconds=1)
LAST_BACKOFF = timedelta(minutes=5)

_POLICY_STATES = {
    TaskState.TASK_STATE_UNSPECIFIED: "queued",
    TaskState.TASK_STATE_QUEUED: "queued",
    TaskState.TASK_STATE_STARTING: "starting",
    TaskState.TASK_STATE_RUNNING: "running",
    TaskState.TASK_STATE_SUCCEEDED: "succeeded",
    TaskState.TASK_STATE_FAILED: "failed",
    TaskState.TASK_STATE_CANCELLED: "cancelled",
}
_STATE_WORDS = {
    value: name.removeprefix("EXPERIMENT_STATE_") for name, value in api.ExperimentState.items()
}


@dataclass(slots=True)
class Step:
    """What an observation leads to.

    Attributes:
        experiment: the experiment afterwards (a changed copy).
        tasks: tasks whose status changed.
        events: entries for its history.
        ended: every task of the attempt is over.
        stop: tasks to stop, because another one has failed.
    """

    experiment: Experiment
    tasks: list[TaskStatus] = field(default_factory=list)
    events: list[ExperimentEvent] = field(default_factory=list)
    ended: bool = False
    stop: list[TaskKey] = field(default_factory=list)


def advance(
    experiment: Experiment,
    known: Sequence[TaskStatus],
    observation: Observation,
    *,
    now: Timestamp,
    stopping: str = "",
    kept: Kept = NOTHING,
) -> Step:
    """Applies an observation of the current attempt.

    Args:
        experiment: as it is stored.
        known: the attempt's tasks as they are stored.
        observation: what the driver says now.
        now: the time, for what has no time of its own.
        stopping: why the control plane asked the whole attempt to stop ("QueueTimeout", …);
            decides the outcome instead of the tasks'.
        kept: how far its outputs are stored. It does not end before all of them are.
    """
    step = Step(Experiment())
    step.experiment.CopyFrom(experiment)
    tasks, step.tasks = merge_tasks(known, observation.tasks)
    if experiment.state in TERMINAL:
        step.ended = True
        return step
    _record_failures(step, experiment)
    views = [_view(task) for task in every_task(experiment, tasks)]
    verdict = decide(views)
    step.ended = all(view.state in ("succeeded", "failed", "cancelled") for view in views)
    target = step.experiment
    count_roles(target, tasks)
    if not target.HasField("start_time") and (started := first_start(tasks)) is not None:
        target.start_time.CopyFrom(started)
    failure = verdict.first_failure
    if failure is not None and not target.HasField("first_failure"):
        _set_failure(target, next(t for t in tasks if _is(t, failure)))
    _record_outputs(step, kept)
    if step.ended and kept.waits and experiment.state != api.EXPERIMENT_STATE_DELETING:
        step.ended = False
        _hold(step, kept, stopping=bool(stopping))
    elif not step.ended:
        step.stop = [TaskKey(view.role, view.index) for view in verdict.stop]
        if not stopping:
            _progress(step, tasks, observation)
    elif experiment.state == api.EXPERIMENT_STATE_DELETING:
        pass
    elif experiment.state == api.EXPERIMENT_STATE_CANCELLING:
        conclude(step, api.EXPERIMENT_STATE_CANCELLED, experiment.reason, experiment.message, now)
    elif stopping:
        conclude(step, api.EXPERIMENT_STATE_FAILED, stopping, experiment.message, now)
    elif verdict.outcome == "succeeded" and kept.failure is not None:
        retry_or_fail(step, *kept.failure, now)
    elif verdict.outcome == "succeeded":
        conclude(step, api.EXPERIMENT_STATE_SUCCEEDED, "", "", now)
    elif failure is not None:
        first = target.first_failure
        retry_or_fail(step, first.reason, f"task {first.role}-{first.index}: {first.message}", now)
    else:
        text = "its tasks were stopped from outside"
        retry_or_fail(step, reasons.STOPPED, text, now)
    return step


def begin_attempt(experiment: Experiment, number: int) -> ExperimentEvent:
    """Makes attempt `number` the current one of a QUEUED experiment; returns the event."""
    experiment.attempt = number
    experiment.reason = experiment.message = ""
    experiment.ClearField("first_failure")
    experiment.ClearField("start_time")
    count_roles(experiment, ())
    return event(experiment, "AttemptCreated", message=f"attempt {number}")


def retry_or_fail(step: Step, reason: str, message: str, now: Timestamp) -> None:
    """Ends the attempt in failure: QUEUED again if the policy allows it, else FAILED."""
    experiment = step.experiment
    policy = experiment.spec.retry_policy
    if reason in NOT_RETRIED or experiment.attempt > policy.max_retries:
        conclude(step, api.EXPERIMENT_STATE_FAILED, reason, message, now)
        return
    wait = backoff(policy, experiment.attempt)
    experiment.state = api.EXPERIMENT_STATE_QUEUED
    experiment.reason = reasons.BACKOFF
    experiment.message = (
        f"attempt {experiment.attempt} failed ({reason}: {message}); "
        f"the next starts in {wait.total_seconds():g} s"
    )
    step.events.append(event(experiment, "Retrying", reason, experiment.message))


def backoff(policy: RetryPolicy, failed: int) -> timedelta:
    """The wait after the failure of attempt number `failed`."""
    first = (
        policy.initial_backoff.ToTimedelta()
        if policy.HasField("initial_backoff")
        else FIRST_BACKOFF
    )
    last = policy.max_backoff.ToTimedelta() if policy.HasField("max_backoff") else LAST_BACKOFF
    return min(first * (1 << min(failed - 1, 30)), last)


def conclude(
    step: Step, state: api.ExperimentState.ValueType, reason: str, message: str, now: Timestamp
) -> None:
    """Puts the experiment into a terminal state."""
    experiment = step.experiment
    experiment.state = state
    experiment.reason, experiment.message = reason, message
    experiment.end_time.CopyFrom(now)
    step.events.append(event(experiment, "StateChanged", reason, message))


def event(
    experiment: Experiment, kind: str, reason: str = "", message: str = "", task: str = ""
) -> ExperimentEvent:
    """An event of the experiment as it is now."""
    if kind == "StateChanged" and not message:
        message = _STATE_WORDS[experiment.state]
    return ExperimentEvent(
        type=kind,
        state=experiment.state,
        reason=reason,
        message=message,
        attempt=experiment.attempt,
        task=task,
    )


def _record_outputs(step: Step, kept: Kept) -> None:
    """Names what was stored since, with an event for each."""
    for each in keeping.record(step.experiment, kept.stored):
        kind, message = keeping.event_of(each)
        step.events.append(event(step.experiment, kind, message=message, task=each.output.task))


def _hold(step: Step, kept: Kept, *, stopping: bool) -> None:
    """An attempt whose tasks are over waits until its outputs are stored."""
    experiment, before, state = step.experiment, step.experiment.message, step.experiment.state
    keeping.wait_for(experiment, kept, stopping=stopping)
    if experiment.state != state:  # nobody saw it run
        step.events.append(event(experiment, "StateChanged"))
    if kept.trouble and kept.trouble not in before:
        step.events.append(event(experiment, "Warning", reasons.UPLOADING_OUTPUTS, kept.trouble))


def _progress(step: Step, tasks: Sequence[TaskStatus], observation: Observation) -> None:
    """The state of an attempt with tasks that are not over."""
    experiment = step.experiment
    if experiment.state in (api.EXPERIMENT_STATE_CANCELLING, api.EXPERIMENT_STATE_DELETING):
        return
    furthest = max((task.state for task in tasks), default=TaskState.TASK_STATE_QUEUED)
    if furthest >= TaskState.TASK_STATE_RUNNING:
        state = api.EXPERIMENT_STATE_RUNNING
    elif furthest == TaskState.TASK_STATE_STARTING:
        state = api.EXPERIMENT_STATE_STARTING
    else:
        state = api.EXPERIMENT_STATE_QUEUED
    state = max(state, experiment.state)
    if experiment.HasField("first_failure"):
        failure = experiment.first_failure
        experiment.reason = failure.reason
        experiment.message = (
            f"task {failure.role}-{failure.index} failed ({failure.message}); "
            "the others are being stopped"
        )
    else:
        experiment.reason, experiment.message = observation.reason, observation.message
    if state == experiment.state:
        return
    experiment.state = state
    step.events.append(event(experiment, "StateChanged", observation.reason, observation.message))


def _record_failures(step: Step, experiment: Experiment) -> None:
    """An event for every task that has failed now."""
    step.events.extend(
        event(
            experiment,
            "TaskFailed",
            task.reason,
            task.message,
            names.task_id(task.role, task.index),
        )
        for task in step.tasks
        if task.state == TaskState.TASK_STATE_FAILED
    )


def _view(task: TaskStatus) -> TaskView:
    ended = task.end_time.seconds + task.end_time.nanos / 1e9
    return TaskView(task.role, task.index, _POLICY_STATES[task.state], ended)


def _is(task: TaskStatus, view: TaskView) -> bool:
    return task.role == view.role and task.index == view.index


def _set_failure(experiment: Experiment, task: TaskStatus) -> None:
    failure = TaskFailure(
        task=names.task_name(experiment.name, experiment.attempt, task.role, task.index),
        role=task.role,
        index=task.index,
        reason=task.reason,
        message=task.message,
        signal=task.signal,
    )
    if task.HasField("exit_code"):
        failure.exit_code = task.exit_code
    experiment.first_failure.CopyFrom(failure)
