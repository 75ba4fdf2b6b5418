from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from subgrpc.errors import InvalidArgument
from subgrpc.filters import (
    EXPERIMENT_FIELDS,
    TASK_FIELDS,
    Filter,
    OrderBy,
    parse_filter,
    parse_order,
)
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment, Task
from subgrpc.v1.types_pb2 import TaskState, TaskStatus


def parsed(text: str) -> Filter:
    found = parse_filter(text, EXPERIMENT_FIELDS)
    assert found is not None
    return found


def problem(text: str) -> str:
    """What is wrong with a filter: one violation of the field that it comes in."""
    with pytest.raises(InvalidArgument) as caught:
        parse_filter(text, EXPERIMENT_FIELDS)
    (violation,) = caught.value.violations
    assert violation.field == "filter"
    return violation.description


def one() -> Experiment:
    made = Experiment(
        name="teams/red/experiments/digits",
        uid="06a",
        state=api.EXPERIMENT_STATE_RUNNING,
        reason="",
        cluster="clusters/local",
        creator="ann",
        display_name='Say "hi"',
        labels={"team": "vision", "a.b/c": "x", "it's": "q"},
    )
    made.create_time.FromJsonString("2026-01-02T03:04:05.000006Z")
    return made


MATCHING = [
    "state = RUNNING",
    "state=EXPERIMENT_STATE_RUNNING",
    "state != FAILED",
    "experiment_id = digits",
    "experiment_id >= digit AND experiment_id < digitt",
    "cluster = local",
    'cluster = "clusters/local"',
    "reason = ''",
    r'display_name = "Say \"hi\""',
    "display_name = 'Say \"hi\"'",
    "labels.team = vision",
    "labels.team:*",
    'labels."team" = "vision"',
    "labels.a.b/c = x",
    'labels."it\'s" = q',
    "NOT labels.none:*",
    "labels.none != x",
    "NOT labels.none = x",
    "-state = FAILED",
    "create_time = 2026-01-02T03:04:05.000006Z",
    'create_time > "2026-01-02T03:04:05Z"',
    'create_time < "2026-01-02T04:04:06+01:00"',
    'create_time = "2026-01-02T03:04:05.000006999Z"',
    'end_time != "2026-01-02T03:04:05Z"',
    "(state = RUNNING)",
    "state = FAILED OR state = RUNNING",
    " state = RUNNING\n AND\tcreator = ann ",
    "NOT (state = FAILED OR creator = bob)",
]
NOT_MATCHING = [
    "state = QUEUED",
    "state != RUNNING",
    "labels.none = x",
    "labels.none < zzz",
    "labels.none:*",
    'end_time > "1970-01-01T00:00:00Z"',
    'end_time < "2999-01-01T00:00:00Z"',
    "creator = Ann",
    "display_name = 'Say*'",
    "NOT state = RUNNING",
    "state = RUNNING AND state = FAILED",
]


@pytest.mark.parametrize("text", MATCHING)
def test_it_matches(text: str) -> None:
    assert parsed(text).matches(one())


@pytest.mark.parametrize("text", NOT_MATCHING)
def test_it_does_not_match(text: str) -> None:
    assert not parsed(text).matches(one())


def test_or_binds_tighter_than_and() -> None:
    """AIP-160, unlike most languages; the canonical form says it with parentheses."""
    found = parsed("creator = x AND state = RUNNING OR state = FAILED")
    assert found.text == '(creator = "x" AND (state = RUNNING OR state = FAILED))'


@pytest.mark.parametrize("text", [*MATCHING, *NOT_MATCHING])
def test_the_canonical_form_is_a_filter_that_means_the_same(text: str) -> None:
    found = parsed(text)
    again = parsed(found.text)
    assert again == found
    assert again.root == found.root
    assert again.text == found.text


def test_spelling_makes_no_difference() -> None:
    """Page tokens are bound to the canonical form."""
    assert parsed("state=RUNNING  AND(creator='ann')") == parsed(
        'state = RUNNING AND creator = "ann"'
    )
    assert parsed("state = RUNNING") != parsed("state != RUNNING")


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_filter_is_none(text: str) -> None:
    assert parse_filter(text, EXPERIMENT_FIELDS) is None


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("stat = RUNNING", ["column 1", "'stat'", "did you mean state?", "display_name"]),
        ("state = RUNING", ["column 9", "'RUNING'", "did you mean RUNNING?", "QUEUED"]),
        ("state = running", ["did you mean RUNNING?"]),
        ("state > RUNNING", ["column 7", "= and != only"]),
        ("state:RUNNING", ["column 6", "labels only"]),
        ("state", ["column 6", "one of = != < <= > >=", "the end"]),
        ("state =", ["column 8", "value of state"]),
        ("state = AND", ["column 9", "value of state"]),
        ("state = RUNNING creator = ann", ["column 17", "AND, OR or the end", "'creator'"]),
        ("state = RUNNING and creator = ann", ["did you mean AND?"]),
        ("(state = RUNNING", ["column 17", "AND, OR or )"]),
        ("state = RUNNING)", ["column 16", "')'"]),
        ("creator = 'ann", ["column 11", "no closing quote"]),
        ("creator = a*", ["column 11", "no wildcards"]),
        ("creator = 'a\x01'", ["column 11", "control character"]),
        ("labels = x", ["column 7", ".KEY"]),
        ("labels. = x", ["column 8", "key must follow"]),
        ('labels."" = x', ["key must follow"]),
        ("labels.k:x", ["* after :"]),
        ("create_time > yesterday", ["column 15", "2026-01-31T12:00:00Z"]),
        ('create_time > "2026-13-01T00:00:00Z"', ["is not a time"]),
        ('create_time > "2026-01-01"', ["is not a time"]),
        ('create_time > "2026-01-01T00:00:00"', ["is not a time"]),
        ("NOT NOT state = RUNNING", ["column 5"]),
        ("= RUNNING", ["column 1", "expected a field"]),
        ("(" * 40 + "state = RUNNING" + ")" * 40, ["more than 32 parentheses"]),
        (" OR ".join(["uid = a"] * 101), ["more than 100 comparisons"]),
    ],
)
def test_mistakes_are_named_with_their_place(text: str, parts: list[str]) -> None:
    description = problem(text)
    for part in parts:
        assert part in description
    assert len(description) < 400


@given(st.text(max_size=80))
@example("labels.\x00=")
@example("a" * 4096)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Never another error, and what is read has a canonical form."""
    found = None
    with contextlib.suppress(InvalidArgument):
        found = parse_filter(text, EXPERIMENT_FIELDS)
    if found is not None:
        assert parsed(found.text) == found


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs"])), st.text(max_size=5))
def test_any_value_can_be_quoted(value: str, other: str) -> None:
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    found = parsed(f"display_name = {quoted}")
    assert found.matches(Experiment(display_name=value))
    assert found.matches(Experiment(display_name=other)) == (value == other)


grammar = st.recursive(
    st.sampled_from(["state = RUNNING", "labels.team:*", "uid != 06a", "-creator < b"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(" AND ".join),
        st.tuples(inner, inner).map(" OR ".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"NOT ({text})"),
    ),
    max_leaves=12,
)


@given(grammar)
def test_canonical_forms_are_fixed_points(text: str) -> None:
    found = parsed(text)
    assert parsed(found.text) == found
    assert parsed(found.text).matches(one()) == found.matches(one())


def test_tasks_are_filtered_by_their_own_fields() -> None:
    task = Task(status=TaskStatus(role="worker", index=3, state=TaskState.TASK_STATE_FAILED))
    for text in ("state = FAILED", "role = worker", "index = 3", "index > 2 AND index <= 3"):
        found = parse_filter(text, TASK_FIELDS)
        assert found is not None
        assert found.matches(task)
    for text in ("creator = ann", "index = x", "index = 9999999999999999999", "state = CANCELLING"):
        with pytest.raises(InvalidArgument):
            parse_filter(text, TASK_FIELDS)


def test_orders_are_read() -> None:
    assert parse_order("") == OrderBy("create_time", descending=True)
    assert parse_order(" end_time  desc ") == OrderBy("end_time", descending=True)
    assert parse_order("experiment_id asc") == parse_order("experiment_id")
    assert parse_order("update_time").text == "update_time"
    assert parse_order("").text == "create_time desc"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("created", "did you mean create_time?"),
        ("state", "one of create_time"),
        ("create_time DESC", "only asc or desc"),
        ("create_time desc uid", "only asc or desc"),
        ("create_time,uid", "create_time, update_time"),
    ],
)
def test_wrong_orders_are_refused(text: str, part: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_order(text)
    assert caught.value.violations[0].field == "order_by"
    assert part in caught.value.message
