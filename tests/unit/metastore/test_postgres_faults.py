"""Connections to PostgreSQL that break, at any moment: nothing is lost, doubled or misreported."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from subgrpc.errors import Unavailable
from subgrpc.filters import OrderBy
from subgrpc.metastore import Metastore

from .conftest import experiment, insert
from .proxy import Proxy, proxied

pytestmark = pytest.mark.postgres


@pytest.fixture
async def proxy(tmp_path: Path, databases: Any) -> AsyncIterator[Proxy]:
    async with proxied(databases.of(tmp_path)) as made:
        yield made


@contextlib.asynccontextmanager
async def behind(proxy: Proxy, folder: Path) -> AsyncIterator[Metastore]:
    store = await Metastore.open(folder, database=proxy.url)
    try:
        yield store
    finally:
        await store.close()


async def works_again(store: Metastore, name: str) -> None:
    """Reads and writes, as soon as the database is back."""
    for _ in range(100):
        try:
            await insert(store, experiment(name))
            break
        except Unavailable:
            await asyncio.sleep(0.1)
    assert await store.get_experiment("red", name) is not None


async def test_connections_that_were_ended_cost_no_caller_an_error(
    tmp_path: Path, proxy: Proxy
) -> None:
    """The database was restarted, say, while nobody wrote: reads and writes go on."""
    async with behind(proxy, tmp_path) as store:
        await insert(store, experiment("one"))
        for number in range(5):
            proxy.cut()
            assert await store.get_experiment("red", "one") is not None
            await insert(store, experiment(f"n{number}"))
            proxy.cut()
            order = OrderBy("create_time", descending=False)
            page = await store.list_experiments(
                "red", filter=None, order=order, after=None, limit=500
            )
            assert len(page.items) == number + 2
        assert store.revision == 6


async def test_a_commit_that_came_through_is_a_success(tmp_path: Path, proxy: Proxy) -> None:
    """Its answer was lost with the connection: the database is asked, and the caller is told."""
    async with behind(proxy, tmp_path) as store:
        proxy.cut_after = lambda data: b"pg_notify" in data
        await insert(store, experiment("one"))
        proxy.cut_after = lambda data: False
        assert await store.get_experiment("red", "one") is not None
        assert store.revision == 1
        await insert(store, experiment("two"))
        assert [each.revision for each in await store.changes_after(0, 9)] == [1, 2]


async def test_a_commit_that_never_arrived_is_not_kept(tmp_path: Path, proxy: Proxy) -> None:
    """The caller is told so, and the revision is given to the next one."""
    async with behind(proxy, tmp_path) as store:
        proxy.cut_before = lambda data: b"pg_notify" in data
        with pytest.raises(Unavailable) as caught:
            await insert(store, experiment("one"))
        assert caught.value.reason == "METASTORE_UNAVAILABLE"
        assert caught.value.retry_after
        proxy.cut_before = lambda data: False
        assert await store.get_experiment("red", "one") is None
        await insert(store, experiment("two"))
        assert [each.revision for each in await store.changes_after(0, 9)] == [1]


async def test_a_connection_that_breaks_within_a_group_undoes_all_of_it(
    tmp_path: Path, proxy: Proxy
) -> None:
    async with behind(proxy, tmp_path) as store:
        proxy.cut_before = lambda data: b"middle" in data
        names = ["first", "middle", "last"]
        results = await asyncio.gather(
            *(insert(store, experiment(name)) for name in names), return_exceptions=True
        )
        proxy.cut_before = lambda data: False
        kept = [await store.get_experiment("red", name) is not None for name in names]
        assert kept == [result is None for result in results]
        assert "Unavailable" in {type(each).__name__ for each in results}
        await works_again(store, "after")


async def test_a_database_that_is_away_is_unavailable_and_comes_back(
    tmp_path: Path, proxy: Proxy
) -> None:
    """Callers are told when to come again; the feed catches up with what others did meanwhile."""
    async with behind(proxy, tmp_path / "a") as store:
        await insert(store, experiment("one"))
        proxy.refusing = True
        proxy.cut()
        with pytest.raises(Unavailable) as caught:
            await store.get_experiment("red", "one")
        assert caught.value.retry_after
        with pytest.raises(Unavailable):
            await insert(store, experiment("two"))
        with pytest.raises(Unavailable):
            await store.changes_after(0, 9)
        assert store.feed.after(0) is not None
        proxy.refusing = False
        await works_again(store, "three")
        assert store.revision == 2


async def test_a_network_that_swallows_everything_is_unavailable_in_a_while(
    tmp_path: Path, proxy: Proxy
) -> None:
    """No call waits for ever, and the event loop turns meanwhile."""
    async with behind(proxy, tmp_path) as store:
        await insert(store, experiment("one"))
        proxy.swallow()
        calls = [
            store.get_experiment("red", "one"),
            store.changes_after(0, 9),
            insert(store, experiment("two")),
        ]
        results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 45)
        assert [type(each) for each in results] == [Unavailable] * 3
        proxy.forward()
        proxy.cut()
        await works_again(store, "three")


async def test_what_others_wrote_while_we_were_cut_off_is_read_afterwards(
    tmp_path: Path, proxy: Proxy, databases: Any
) -> None:
    async with behind(proxy, tmp_path / "a") as store:
        other = await Metastore.open(tmp_path / "b", database=databases.of(tmp_path))
        proxy.refusing = True
        proxy.cut()
        for number in range(5):
            await insert(other, experiment(f"n{number}"))
        proxy.refusing = False
        await asyncio.wait_for(store.feed.wait(4), 30)
        assert store.feed.after(0) == other.feed.after(0)
        await other.close()
