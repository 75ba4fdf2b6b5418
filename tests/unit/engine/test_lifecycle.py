"""The life of an experiment: what observations make of it, in whatever order they come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from subgrpc import reasons
from subgrpc.driver import Observation, TaskKey
from subgrpc.engine import lifecycle
from subgrpc.engine.tasks import TASK_TERMINAL, lose_tasks, merge_tasks, never_started
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment
from subgrpc.v1.spec_pb2 import RetryPolicy
from subgrpc.v1.types_pb2 import TaskState, TaskStatus

NOW = Timestamp(seconds=1_000)
QUEUED, STARTING, RUNNING = (
    TaskState.TASK_STATE_QUEUED,
    TaskState.TASK_STATE_STARTING,
    TaskState.TASK_STATE_RUNNING,
)
SUCCEEDED, FAILED, CANCELLED = (
    TaskState.TASK_STATE_SUCCEEDED,
    TaskState.TASK_STATE_FAILED,
    TaskState.TASK_STATE_CANCELLED,
)


def make(
    *roles: tuple[str, int], state: int = api.EXPERIMENT_STATE_QUEUED, retries: int = 0
) -> Experiment:
    experiment = Experiment(name="teams/default/experiments/e", uid="u" * 26, attempt=1)
    experiment.state = state
    for role, replicas in roles or (("main", 1),):
        experiment.spec.task_groups.add(role=role, replicas=replicas, command="true")
    if retries:
        experiment.spec.retry_policy.max_retries = retries
    return experiment


def task(
    state: int, index: int = 0, role: str = "main", end: int = 0, **more: object
) -> TaskStatus:
    status = TaskStatus(role=role, index=index, state=state, **more)
    if end:
        status.end_time.seconds = end
    return status


def seen(*tasks: TaskStatus, **more: str) -> Observation:
    return Observation(tasks=tasks, **more)


def step(
    experiment: Experiment,
    *tasks: TaskStatus,
    known: Sequence[TaskStatus] = (),
    stopping: str = "",
    **more: str,
) -> lifecycle.Step:
    return lifecycle.advance(experiment, known, seen(*tasks, **more), now=NOW, stopping=stopping)


@pytest.mark.parametrize(
    ("observed", "state"),
    [
        (QUEUED, api.EXPERIMENT_STATE_QUEUED),
        (STARTING, api.EXPERIMENT_STATE_STARTING),
        (RUNNING, api.EXPERIMENT_STATE_RUNNING),
        (SUCCEEDED, api.EXPERIMENT_STATE_SUCCEEDED),
    ],
)
def test_one_task_decides_the_state(observed: int, state: int) -> None:
    """A single task's state is the experiment's."""
    assert step(make(), task(observed)).experiment.state == state


def test_a_run_that_ended_unseen_knows_when_it_started() -> None:
    """A task that is over before anybody saw it run still gives its start."""
    ended = task(SUCCEEDED, end=9)
    ended.start_time.seconds = 8
    assert step(make(), ended).experiment.start_time.seconds == 8


def test_a_waiting_run_says_why() -> None:
    """What the driver says of a run that waits is the experiment's reason and message."""
    result = step(make(), task(QUEUED), reason="WaitingForResources", message="needs 4 cpu")
    assert (result.experiment.reason, result.experiment.message) == (
        "WaitingForResources",
        "needs 4 cpu",
    )


def test_a_failure_stops_the_others_and_decides_when_they_are_gone() -> None:
    """The first failing task stops the rest; the experiment fails once nothing runs any more."""
    experiment = make(("ps", 1), ("worker", 2), state=api.EXPERIMENT_STATE_RUNNING)
    failed = task(FAILED, 1, "worker", 5, reason="ExitCode", message="exit code 3", exit_code=3)
    running = [task(RUNNING, 0, "ps"), task(RUNNING, 0, "worker")]
    first = step(experiment, *running, failed)
    assert not first.ended
    assert set(first.stop) == {TaskKey("ps", 0), TaskKey("worker", 0)}
    assert first.experiment.state == api.EXPERIMENT_STATE_RUNNING
    assert first.experiment.first_failure.exit_code == 3
    assert first.experiment.first_failure.task.endswith("/attempts/1/tasks/worker-1")
    stopped = [task(CANCELLED, 0, "ps", 6), task(CANCELLED, 0, "worker", 6)]
    second = step(first.experiment, *stopped, known=[*running, failed])
    assert second.ended
    assert second.experiment.state == api.EXPERIMENT_STATE_FAILED
    assert second.experiment.reason == "ExitCode"
    assert "worker-1" in second.experiment.message


def test_a_failure_after_the_first_changes_nothing_of_the_reason() -> None:
    """The first failure stays the experiment's, though a later one is seen."""
    experiment = make(("w", 2), state=api.EXPERIMENT_STATE_RUNNING)
    one = step(experiment, task(RUNNING, 0, "w"), task(FAILED, 1, "w", 9, reason="Signal"))
    two = step(
        one.experiment,
        task(FAILED, 0, "w", 5, reason="ExitCode"),
        known=[task(RUNNING, 0, "w"), task(FAILED, 1, "w", 9, reason="Signal")],
    )
    assert two.experiment.reason == "Signal"
    assert [role.failed for role in two.experiment.roles] == [2]


def test_cancelling_is_over_when_the_workload_is_gone() -> None:
    """CANCELLED is said only once every task is over, whatever their outcome."""
    experiment = make(("w", 2), state=api.EXPERIMENT_STATE_CANCELLING)
    half = step(experiment, task(RUNNING, 0, "w"), task(CANCELLED, 1, "w"))
    assert half.experiment.state == api.EXPERIMENT_STATE_CANCELLING
    whole = step(half.experiment, task(FAILED, 0, "w"), task(CANCELLED, 1, "w"))
    assert whole.experiment.state == api.EXPERIMENT_STATE_CANCELLED
    assert whole.experiment.HasField("end_time")


def test_a_failed_attempt_is_tried_again_as_often_as_allowed() -> None:
    """With retries left the experiment is QUEUED again and says so; without, it has FAILED."""
    experiment = make(retries=1, state=api.EXPERIMENT_STATE_RUNNING)
    first = step(experiment, task(FAILED, reason="ExitCode", message="exit code 1"))
    assert first.experiment.state == api.EXPERIMENT_STATE_QUEUED
    assert first.experiment.reason == reasons.BACKOFF
    assert [event.type for event in first.events] == ["TaskFailed", "Retrying"]
    lifecycle.begin_attempt(first.experiment, 2)
    second = step(first.experiment, task(FAILED, reason="ExitCode", message="exit code 1"))
    assert second.experiment.state == api.EXPERIMENT_STATE_FAILED


@pytest.mark.parametrize("reason", sorted(lifecycle.NOT_RETRIED))
def test_some_failures_are_never_retried(reason: str) -> None:
    """A timeout, a cancel or a refusal ends the experiment whatever the policy says."""
    experiment = make(retries=5, state=api.EXPERIMENT_STATE_RUNNING)
    assert step(experiment, task(FAILED, reason=reason)).experiment.reason == reason


def test_a_stop_of_the_control_plane_decides_the_outcome() -> None:
    """An attempt that was stopped for its queue timeout fails with that reason."""
    experiment = make(retries=3)
    result = step(experiment, task(CANCELLED), stopping=reasons.QUEUE_TIMEOUT)
    assert result.experiment.state == api.EXPERIMENT_STATE_FAILED
    assert result.experiment.reason == reasons.QUEUE_TIMEOUT


def test_lost_tasks_fail_and_ended_ones_stay() -> None:
    """When a backend no longer knows a run, what had not ended is Lost, what had is untouched."""
    lost = lose_tasks(make(("w", 3)), [task(SUCCEEDED, 0, "w"), task(RUNNING, 1, "w")], "gone")
    assert [each.state for each in lost] == [SUCCEEDED, FAILED, FAILED]
    assert [each.reason for each in lost] == ["", "Lost", "Lost"]


def test_a_run_that_was_never_submitted_is_cancelled_as_a_whole() -> None:
    """Every task of the spec is there, and CANCELLED."""
    tasks = never_started(make(("a", 2), ("b", 1)))
    assert [(each.role, each.index, each.state) for each in tasks] == [
        ("a", 0, CANCELLED),
        ("a", 1, CANCELLED),
        ("b", 0, CANCELLED),
    ]


def test_backoff_doubles_up_to_its_limit() -> None:
    """1 s, 2 s, 4 s … up to max_backoff."""
    policy = RetryPolicy(max_retries=9)
    policy.initial_backoff.FromTimedelta(timedelta(seconds=1))
    policy.max_backoff.FromTimedelta(timedelta(seconds=5))
    waits = [lifecycle.backoff(policy, failed).total_seconds() for failed in (1, 2, 3, 4, 90)]
    assert waits == [1, 2, 4, 5, 5]


states = st.sampled_from([QUEUED, STARTING, RUNNING, SUCCEEDED, FAILED, CANCELLED])
observations = st.lists(st.lists(states, min_size=1, max_size=3), min_size=1, max_size=12)


@given(observations, st.integers(0, 2))
def test_terminal_states_absorb_and_tasks_never_go_back(
    history: list[list[int]], retries: int
) -> None:
    """Late, repeated and reordered observations: what has ended stays, counts always add up."""
    experiment, known = make(("w", 3), retries=retries), []
    for states_seen in history:
        observed = [task(state, index, "w", end=1) for index, state in enumerate(states_seen)]
        result = lifecycle.advance(experiment, known, seen(*observed), now=NOW)
        merged, changed = merge_tasks(known, observed)
        before = {each.index: each.state for each in known}
        for each in merged:
            assert each.state >= before.get(each.index, QUEUED)
            if before.get(each.index) in TASK_TERMINAL:
                assert each.state == before[each.index]
        if experiment.state in lifecycle.TERMINAL:
            assert result.experiment.state == experiment.state
            assert not result.events
            continue
        assert result.tasks == changed
        role = result.experiment.roles[0]
        total = role.pending + role.running + role.succeeded + role.failed + role.cancelled
        assert total == role.replicas == 3
        experiment, known = result.experiment, merged
        if result.ended and experiment.state == api.EXPERIMENT_STATE_QUEUED:
            lifecycle.begin_attempt(experiment, experiment.attempt + 1)
            known = []
        assert experiment.attempt <= retries + 1
