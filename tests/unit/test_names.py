"""Resource names and uids."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subgrpc import names
from subgrpc.errors import InvalidArgument

segments = st.from_regex(names.SEGMENT, fullmatch=True)


@given(segments, segments)
def test_an_experiment_name_survives_writing_and_reading(team: str, experiment: str) -> None:
    """What is written is read back."""
    name = names.ExperimentName(team, experiment)
    assert names.parse_experiment(str(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "teams/default",
        "teams/default/experiments/",
        "teams/default/experiments/../../etc",
        "teams/default/experiments/a/b",
        "teams/DEFAULT/experiments/a",
        "teams/default/experiments/a\n",
        "teams/default/experiments/-",
        "teams/default/experiments/a-",
        "teams/default/experiments/" + "a" * 64,
        "teams/default/experiments/é",
        "//",
        "x" * 100_000,
    ],
)
def test_another_form_is_refused_with_the_field(name: str) -> None:
    """Path tricks, control characters and wrong shapes are no names; the error says which field."""
    with pytest.raises(InvalidArgument) as caught:
        names.parse_experiment(name, "experiment.name")
    assert caught.value.violations[0].field == "experiment.name"
    assert len(caught.value.message) < 400


def test_uids_are_ordered_by_time_and_fit_backends() -> None:
    """26 characters of lower-case base32 that sort by their time of creation."""
    first = names.new_uid()
    time.sleep(0.002)
    second = names.new_uid()
    assert len(first) == 26
    assert first < second
    assert first.isalnum()
    assert first == first.lower()


def test_a_uid_tells_when_it_was_made() -> None:
    """To the millisecond; what is no uid is refused."""
    before = time.time_ns() // 1_000_000
    made = names.uid_time(names.new_uid())
    assert before * 1_000 <= made <= time.time_ns() // 1_000
    for text in ("", "x" * 26, "0" * 25, "0" * 25 + "\n"):
        with pytest.raises(ValueError, match="no uid"):
            names.uid_time(text)


def test_task_names_hold_attempt_role_and_index() -> None:
    """The name of a task, from its experiment's."""
    task = names.task_name("teams/t/experiments/e", 2, "worker", 7)
    assert task == "teams/t/experiments/e/attempts/2/tasks/worker-7"
    assert names.match(task, "teams/*/experiments/*/attempts/*/tasks/*") == [
        "t",
        "e",
        "2",
        "worker-7",
    ]
