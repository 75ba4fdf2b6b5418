"""What the tasks of a run mean for the run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from subgrpc.agent.policy import TaskView, Verdict, decide

STATES = ("queued", "starting", "running", "succeeded", "failed", "cancelled")
OVER = ("succeeded", "failed", "cancelled")

views = st.lists(
    st.builds(
        TaskView,
        st.sampled_from(("chief", "worker")),
        st.integers(0, 3),
        st.sampled_from(STATES),
        st.floats(0, 10),
    ),
    max_size=6,
    unique_by=lambda view: (view.role, view.index),
)


def test_the_first_failure_by_time_decides() -> None:
    """The failed task that ended first is the run's failure, and the rest is to be stopped."""
    late, first = TaskView("a", 0, "failed", 9.0), TaskView("b", 0, "failed", 4.0)
    running, done = TaskView("c", 0, "running", 0.0), TaskView("d", 0, "succeeded", 1.0)
    assert decide([late, first, running, done]) == Verdict("failed", first, (running,))


def test_a_failure_without_a_time_comes_last() -> None:
    """A lost task, whose end nobody saw, does not hide the failure that was seen."""
    lost, seen = TaskView("a", 0, "failed", 0.0), TaskView("a", 1, "failed", 5.0)
    assert decide([lost, seen]).first_failure == seen


def test_stopped_from_outside_is_no_success() -> None:
    """A run of which a task was stopped has not succeeded, though none of its tasks failed."""
    tasks = [TaskView("a", 0, "succeeded", 1.0), TaskView("a", 1, "cancelled", 2.0)]
    assert decide(tasks) == Verdict("failed", None, ())


def test_nothing_known_yet() -> None:
    """A run of which no task is known is under way."""
    assert decide([]) == Verdict("running", None, ())


@given(views)
def test_verdicts(tasks: list[TaskView]) -> None:
    """Any failure means failed; success means all; only tasks that are not over are stopped."""
    verdict = decide(tasks)
    states = {view.state for view in tasks}
    assert (verdict.outcome == "succeeded") == (states == {"succeeded"})
    assert (verdict.first_failure is not None) == ("failed" in states)
    assert "failed" not in states or verdict.outcome == "failed"
    assert all(view.state not in OVER for view in verdict.stop)
    assert verdict.outcome == "failed" or not verdict.stop
    if states - set(OVER) and "failed" not in states:
        assert verdict.outcome == "running"


@given(views)
def test_the_order_of_tasks_does_not_matter(tasks: list[TaskView]) -> None:
    """Every observer comes to the same verdict."""
    one, other = decide(tasks), decide(tasks[::-1])
    assert one.outcome == other.outcome
    assert one.first_failure == other.first_failure
    assert set(one.stop) == set(other.stop)
