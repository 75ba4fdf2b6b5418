from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from subgrpc.filters import EXPERIMENT_FIELDS, Filter, OrderBy, micros, parse_filter, parse_order
from subgrpc.metastore import EXPERIMENTS, Key, Metastore, queries
from subgrpc.metastore.listing import numbered
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment

from .conftest import experiment, insert, steps

ORDERS = [
    f"{column}{direction}"
    for column in ("create_time", "update_time", "end_time", "experiment_id")
    for direction in ("", " desc")
]
WORDS = ("a", "B", "ä", "zz", "")


def random_experiment(chance: random.Random) -> Experiment:
    made = experiment(f"e{chance.randrange(10**12)}", team=chance.choice(("red", "red", "blue")))
    made.state = chance.choice(api.ExperimentState.values()[1:])
    made.reason, made.creator, made.display_name = (chance.choice(WORDS) for _ in range(3))
    made.cluster = f"clusters/{chance.choice('xy')}"
    made.create_time.FromMicroseconds(chance.randrange(5) * 1_000_000 + chance.randrange(3))
    if chance.random() < 0.5:
        made.end_time.FromMicroseconds(chance.randrange(1, 6) * 1_000_000)
    for key in ("k", "other.key"):
        if chance.random() < 0.5:
            made.labels[key] = chance.choice(WORDS)
    return made


class Shelf:
    """A metastore with experiments that do not change, on a loop of its own for Hypothesis."""

    def __init__(self, folder: Path, database: str) -> None:
        self.loop = asyncio.new_event_loop()
        chance = random.Random(1)
        self.all = [random_experiment(chance) for _ in range(120)]
        self.store = self.loop.run_until_complete(Metastore.open(folder, database=database))
        self.loop.run_until_complete(insert(self.store, *self.all))

    def pages(self, chosen: Filter | None, order: OrderBy, limit: int) -> list[Experiment]:
        return self.loop.run_until_complete(pages(self.store, chosen, order, limit))

    def close(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.loop.close()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, module_databases: Any) -> Iterator[Shelf]:
    folder = tmp_path_factory.mktemp("shelf")
    made = Shelf(folder, module_databases.of(folder))
    yield made
    made.close()


async def pages(
    store: Metastore, chosen: Filter | None, order: OrderBy, limit: int
) -> list[Experiment]:
    """All pages of a list; each within its limit."""
    found: list[Experiment] = []
    after: Key | None = None
    while True:
        page = await store.list_experiments(
            "red", filter=chosen, order=order, after=after, limit=limit
        )
        assert len(page.items) <= limit
        found += map(Experiment.FromString, page.items)
        if page.next is None:
            return found
        assert page.next != after
        after = page.next


def sort_key(order: OrderBy, each: Experiment) -> tuple[Any, str]:
    return EXPERIMENT_FIELDS[order.column].read(each) or 0, each.uid


def expected(shelf: Shelf, chosen: Filter | None, order: OrderBy) -> list[Experiment]:
    """What a list must hold, without any SQL."""
    red = [each for each in shelf.all if each.name.startswith("teams/red/")]
    passed = [each for each in red if chosen is None or chosen.matches(each)]
    return sorted(passed, key=lambda each: sort_key(order, each), reverse=order.descending)


operators = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
quoted = st.sampled_from([f'"{word}"' for word in (*WORDS, "clusters/x", "e5")])
times = st.integers(0, 6).map(lambda second: f'"1970-01-01T00:00:0{second}.000001Z"')
terms = st.one_of(
    st.tuples(
        st.sampled_from(
            ["experiment_id", "uid", "reason", "cluster", "creator", "display_name", "labels.k"]
        ),
        operators,
        quoted,
    ).map(" ".join),
    st.tuples(
        st.just("state"), st.sampled_from(["=", "!="]), st.sampled_from(["QUEUED", "FAILED"])
    ).map(" ".join),
    st.tuples(st.sampled_from(["create_time", "update_time", "end_time"]), operators, times).map(
        " ".join
    ),
    st.sampled_from(['labels."other.key" = "a"', "labels.other.key:*", "labels.k:*"]),
)
filters = st.recursive(
    terms,
    lambda inner: st.one_of(
        inner.map(lambda text: f"NOT ({text})"),
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda it: f"({' '.join(it)})"),
        st.tuples(inner, inner, inner).map(" AND ".join),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(filters, st.sampled_from(ORDERS), st.sampled_from([1000, 7]), st.sampled_from([5000, 4]))
def test_sql_and_matches_agree(
    shelf: Shelf, text: str, order_by: str, limit: int, window: int
) -> None:
    """Every filter, in every order, with small pages and windows: each match once, sorted."""
    chosen, order = parse_filter(text, EXPERIMENT_FIELDS), parse_order(order_by)
    kept, queries.WINDOW = queries.WINDOW, window
    try:
        shelf.store._queries.resources.cache_clear()
        found = shelf.pages(chosen, order, limit)
    finally:
        queries.WINDOW = kept
    assert [each.uid for each in found] == [each.uid for each in expected(shelf, chosen, order)]


def test_without_a_filter_the_last_page_is_full(shelf: Shelf) -> None:
    """No empty page follows a list that fits exactly."""
    count = len(expected(shelf, None, OrderBy()))
    page = shelf.loop.run_until_complete(
        shelf.store.list_experiments("red", filter=None, order=OrderBy(), after=None, limit=count)
    )
    assert len(page.items) == count
    assert page.next is None
    assert shelf.pages(None, OrderBy(), 1) == expected(shelf, None, OrderBy())


def test_a_batch_leaves_out_what_is_not_there(shelf: Shelf) -> None:
    one = expected(shelf, None, OrderBy())[0]
    name = one.name.rpartition("/")[2]
    found = shelf.loop.run_until_complete(
        shelf.store.batch_get_experiments("red", [name, "nobody"])
    )
    assert {key: Experiment.FromString(body).uid for key, body in found.items()} == {name: one.uid}


async def test_a_page_ends_at_three_mebibytes(store: Metastore) -> None:
    """However many were asked for; at least one experiment is in it."""
    for number in range(30):
        big = experiment(f"n{number}")
        big.message = "x" * 250_000
        await insert(store, big)
    for limit in (50, 1000):
        page = await store.list_experiments(
            "red", filter=None, order=OrderBy(), after=None, limit=limit
        )
        assert 0 < sum(map(len, page.items)) <= 3 << 20
        assert page.next is not None
    assert len(await pages(store, None, OrderBy(), 1000)) == 30


async def test_an_unserved_filter_looks_at_a_bounded_window(
    store: Metastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page may be empty, and still says where to go on."""
    monkeypatch.setattr(queries, "WINDOW", 10)
    await insert(store, *(experiment(f"n{number}") for number in range(25)))
    chosen = parse_filter('display_name = "nobody"', EXPERIMENT_FIELDS)
    after: Key | None = None
    looks = 0
    while looks == 0 or after is not None:
        page = await store.list_experiments(
            "red", filter=chosen, order=OrderBy(), after=after, limit=5
        )
        assert page.items == []
        after, looks = page.next, looks + 1
    assert looks == 3


READS_ALL = re.compile(r"SCAN|Seq Scan")
SORTS = re.compile(r"TEMP B-TREE|->  Sort")  # an incremental one needs no more than a row
SERVED = {
    "": "ix_experiment_created (team=?",
    "state = RUNNING": "ix_experiment_state (team=? AND state=?",
    "cluster = local": "ix_experiment_cluster (team=? AND cluster=?",
    "creator = ann": "ix_experiment_creator (team=? AND creator=?",
    "labels.k = a": "ix_label_value (team=? AND key=? AND value=?",
    "experiment_id = a": "uq_experiment_name (team=? AND experiment_id=?",
    'state = RUNNING AND display_name = "x"': "ix_experiment_state (team=? AND state=?",
    'labels.k = a AND state = RUNNING AND display_name = "x"': "ix_label_value (team=? AND key=?",
    "reason = x AND state != RUNNING": "ix_experiment_created (team=?",
}


@pytest.mark.parametrize("text", SERVED)
@pytest.mark.parametrize("resumed", [False, True])
async def test_pages_walk_the_index_that_serves_them(
    store: Metastore, text: str, resumed: bool
) -> None:
    """No page sorts, and none reads the whole table."""
    chosen = parse_filter(text, EXPERIMENT_FIELDS)
    plan = store._queries.resources(EXPERIMENTS, chosen, OrderBy(), resumed=resumed)
    given = {"team": "red", "limit": 50, **numbered("a", [1, "u"]), **numbered("b", [1, "u"])}
    for query in filter(None, (plan.page, plan.window, plan.rest)):
        shown = await steps(store, query.sql, query.parameters(given))
        # PostgreSQL chooses among the indexes by what it has learnt of their columns.
        assert store.shared or SERVED[text] in shown, shown
        assert not READS_ALL.search(shown), shown
        if "experiment_id" not in text:
            assert not SORTS.search(shown), shown


@pytest.mark.parametrize("order_by", ORDERS)
async def test_every_order_walks_its_index(store: Metastore, order_by: str) -> None:
    """Also with a filter that another index would serve."""
    order = parse_order(order_by)
    for text in ("", "uid != x", "cluster = local AND reason = x"):
        if text.startswith("cluster") and order.column == "create_time":
            continue
        chosen = parse_filter(text, EXPERIMENT_FIELDS)
        plan = store._queries.resources(EXPERIMENTS, chosen, order, resumed=True)
        given = {"team": "red", "limit": 50, **numbered("a", [1, "u"]), **numbered("b", [1, "u"])}
        for query in filter(None, (plan.page, plan.window)):
            shown = await steps(store, query.sql, query.parameters(given))
            assert not READS_ALL.search(shown), shown
            assert not SORTS.search(shown), shown


def test_microseconds_are_what_is_compared() -> None:
    assert micros(Timestamp(seconds=1, nanos=1_999)) == 1_000_001
