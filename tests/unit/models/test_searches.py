"""Versions and models are found by SQL as by reading each of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subgrpc.filters import (
    MODEL_FIELDS,
    VERSION_FIELDS,
    WATCH_FIELDS,
    Filter,
    OrderBy,
    parse_filter,
)
from subgrpc.metastore import MODEL_VERSIONS, MODELS, Kind
from subgrpc.v1 import model_registry_service_pb2 as api
from subgrpc.v1.model_registry_service_pb2 import Model, ModelFramework, ModelVersion

from .conftest import TEAM, Registry

WORDS = ("a", "B", "ä", "zz")


class Shelf:
    """A registry that does not change, on a loop of its own for Hypothesis."""

    def __init__(self, folder: Path, database: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.registry = self.loop.run_until_complete(Registry.open(folder, database))
        self.loop.run_until_complete(self._fill(random.Random(1)))
        self.versions = self.pages(MODEL_VERSIONS, None, OrderBy(), 1000)
        self.models = self.pages(MODELS, None, OrderBy(), 1000)

    async def _fill(self, chance: random.Random) -> None:
        for number in range(60):
            model = f"m{chance.randrange(4)}"
            made = await self.registry.register(
                f"{TEAM}/models/{model}",
                stage=chance.choice(("None", "Staging", "Own")),
                framework=ModelFramework(name=chance.choice(("", "sklearn", "torch"))),
                tags={key: chance.choice(WORDS) for key in ("k", "l") if chance.random() < 0.5},
                metrics={
                    key: chance.choice((0.5, 1, -2.25, 1e9))
                    for key in ("x", "a.b/c")
                    if chance.random() < 0.5
                },
            )
            alias = f"{TEAM}/models/{model}/aliases/{chance.choice(('one', 'two'))}"
            if number % 3 == 0:
                request = api.SetModelAliasRequest(name=alias, number=made.number)
                await self.registry.aliases.set(request, "ann")

    def pages(
        self, kind: Kind, chosen: Filter | None, order: OrderBy, limit: int, model: str = ""
    ) -> list[Any]:
        """All pages of a list."""

        async def read() -> list[Any]:
            reads, found, after = self.registry.store.models, [], None
            more: dict[str, Any] = {"filter": chosen, "order": order, "limit": limit}
            while True:
                page = (
                    await reads.page("default", after=after, **more)
                    if kind is MODELS
                    else await reads.versions("default", model or None, after=after, **more)
                )
                found += map(kind.parse, page.items)
                if page.next is None:
                    return found
                after = page.next

        return self.loop.run_until_complete(read())

    def close(self) -> None:
        self.loop.run_until_complete(self.registry.store.close())
        self.loop.close()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, module_databases: Any) -> Iterator[Shelf]:
    folder = tmp_path_factory.mktemp("shelf")
    made = Shelf(folder, module_databases.of(folder))
    yield made
    made.close()


def combined(terms: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Filters of terms."""
    return st.recursive(
        terms,
        lambda inner: st.one_of(
            inner.map(lambda text: f"NOT ({text})"),
            st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(
                lambda it: f"({' '.join(it)})"
            ),
            st.tuples(inner, inner, inner).map(" AND ".join),
        ),
        max_leaves=5,
    )


operators = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
equality = st.sampled_from(["=", "!="])
words = st.sampled_from([*(f'"{word}"' for word in WORDS), "m1", "ann", '"Staging"', "staging"])
shared = st.one_of(
    st.tuples(st.sampled_from(["model_id", "creator", "tags.k"]), operators, words).map(" ".join),
    st.tuples(st.just("alias"), equality, st.sampled_from(["one", "two", "x"])).map(" ".join),
    st.sampled_from(["tags.l:*", 'create_time > "2020-01-01T00:00:00Z"']),
)
of_versions = st.one_of(
    shared,
    st.tuples(st.sampled_from(["stage", "framework"]), operators, words).map(" ".join),
    st.tuples(st.just("number"), operators, st.sampled_from(["0", "3", "7"])).map(" ".join),
    st.tuples(
        st.sampled_from(["metrics.x", 'metrics."a.b/c"']),
        operators,
        st.sampled_from(["0.5", "1", "-2.25", "1e9", "-1e400"]),
    ).map(" ".join),
    st.sampled_from(["metrics.x:*", 'artifact = "teams/default/artifacts/a"']),
)
of_models = st.one_of(
    shared,
    st.tuples(st.just("latest_version"), operators, st.sampled_from(["0", "12"])).map(" ".join),
)
of_both = st.one_of(of_versions, of_models, st.sampled_from(["kind = MODEL", "kind != MODEL"]))


@settings(max_examples=200, deadline=None)
@given(
    combined(of_versions),
    st.sampled_from(["create_time", "update_time"]),
    st.booleans(),
    st.sampled_from([1000, 7]),
)
def test_versions_by_sql_are_those_that_match(
    shelf: Shelf, text: str, column: str, descending: bool, limit: int
) -> None:
    """Of all models in either order, and of one by number."""
    chosen, order = parse_filter(text, VERSION_FIELDS), OrderBy(column, descending)
    assert chosen is not None
    found = shelf.pages(MODEL_VERSIONS, chosen, order, limit)
    wanted = [each.name for each in shelf.versions if chosen.matches(each)]
    assert sorted(each.name for each in found) == sorted(wanted)
    keys = [(VERSION_FIELDS[column].read(each), each.uid) for each in found]
    assert keys == sorted(keys, reverse=descending)
    of_one = shelf.pages(MODEL_VERSIONS, chosen, OrderBy("number", descending), limit, "m1")
    mine = sorted(
        (each.number for each in shelf.versions if "/m1/" in each.name and chosen.matches(each)),
        reverse=descending,
    )
    assert [each.number for each in of_one] == mine


@settings(max_examples=100, deadline=None)
@given(combined(of_models), st.sampled_from([1000, 2]))
def test_models_by_sql_are_those_that_match(shelf: Shelf, text: str, limit: int) -> None:
    """In the order of their ids, too."""
    chosen = parse_filter(text, MODEL_FIELDS)
    assert chosen is not None
    found = shelf.pages(MODELS, chosen, OrderBy("model_id", descending=False), limit)
    assert [each.name for each in found] == sorted(
        each.name for each in shelf.models if chosen.matches(each)
    )


@settings(max_examples=100, deadline=None)
@given(combined(of_both))
def test_a_watch_begins_with_what_matches_of_either_kind(shelf: Shelf, text: str) -> None:
    """Also where a field is the other kind's: that matches no comparison."""
    chosen = parse_filter(text, WATCH_FIELDS)
    assert chosen is not None

    async def read() -> list[tuple[str, str]]:
        store = shelf.registry.store
        taken = await store.snapshot("default", chosen, (MODELS, MODEL_VERSIONS))
        return [(item.kind, item.uid) async for item in taken.items]

    expected = [
        (kind.name, each.uid)
        for kind, all_ in ((MODELS, shelf.models), (MODEL_VERSIONS, shelf.versions))
        for each in sorted(all_, key=lambda it: it.uid)
        if chosen.matches(each)
    ]
    assert shelf.loop.run_until_complete(read()) == expected


def test_messages_of_either_kind_have_every_field_of_a_watch() -> None:
    """Reading one that a kind does not have is no error."""
    for field in WATCH_FIELDS.values():
        for message in (Model(name="teams/t/models/m"), ModelVersion(name="teams/t/models/m/v/1")):
            field.read(message)
