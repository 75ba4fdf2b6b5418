"""Several servers on one database: one order of revisions, and every feed has all of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from subgrpc.errors import Aborted
from subgrpc.metastore import Change, Fence, Lease, Metastore, Transaction

from .conftest import experiment, insert, inserting

pytestmark = pytest.mark.postgres


@pytest.fixture
async def pair(tmp_path: Path, databases: Any) -> AsyncIterator[tuple[Metastore, Metastore]]:
    """Two servers."""
    url = databases.of(tmp_path)
    opened = [await Metastore.open(tmp_path / name, database=url) for name in "ab"]
    yield opened[0], opened[1]
    for store in opened:
        await store.close()


async def reaches(store: Metastore, revision: int) -> None:
    await asyncio.wait_for(store.feed.wait(revision - 1), 30)


async def test_what_one_writes_the_other_sees(pair: tuple[Metastore, Metastore]) -> None:
    """Its feed has the same changes; only those of others are told to who listens for them."""
    one, other = pair
    heard: dict[Metastore, list[int]] = {one: [], other: []}

    def listen(store: Metastore) -> None:
        def hear(changes: Sequence[Change]) -> None:
            heard[store] += [each.revision for each in changes]

        store.feed.listen_foreign(hear)

    listen(one)
    listen(other)
    await insert(one, experiment("a"))
    await reaches(other, 1)
    await insert(other, experiment("b"))
    await reaches(one, 2)
    assert one.feed.after(0) == other.feed.after(0) == await one.changes_after(0, 9)
    assert heard == {one: [2], other: [1]}


async def test_many_writes_on_both_make_one_history(pair: tuple[Metastore, Metastore]) -> None:
    """Without holes, in the same order in both feeds, each change once."""
    heard: list[int] = []
    pair[0].feed.listen_foreign(lambda changes: heard.extend(each.revision for each in changes))

    async def write(store: Metastore, worker: int) -> None:
        for _ in range(10):
            await insert(store, experiment())
            await asyncio.sleep(0.001 * worker)

    await asyncio.gather(*(write(store, worker) for store in pair for worker in range(4)))
    changes = await pair[0].changes_after(0, 1000)
    assert [each.revision for each in changes] == list(range(1, 81))
    for store in pair:
        await reaches(store, 80)
        assert store.feed.after(0) == changes
    assert heard == sorted(set(heard))
    # One of its own may be among them, if it was read before its writer had told.
    assert 40 <= len(heard) < 80


async def test_of_two_servers_one_gets_the_name(pair: tuple[Metastore, Metastore]) -> None:
    results = await asyncio.gather(
        *(insert(store, experiment("same")) for store in pair for _ in range(5)),
        return_exceptions=True,
    )
    assert results.count(None) == 1
    assert {type(each).__name__ for each in results if each} == {"AlreadyExists"}
    assert len(await pair[0].changes_after(0, 9)) == 1


async def test_a_snapshot_has_what_another_server_has_acknowledged(
    pair: tuple[Metastore, Metastore],
) -> None:
    """Who creates here and watches there finds his experiment."""
    one, other = pair
    for number in range(1, 11):
        await insert(one, experiment(f"n{number}"))
        taken = await other.snapshot("red", None)
        assert len([item async for item in taken.items]) == number


async def test_who_missed_more_than_the_ring_holds_reads_it(tmp_path: Path, databases: Any) -> None:
    """Nothing is skipped, and each change is told once, in order."""
    url = databases.of(tmp_path)
    one = await Metastore.open(tmp_path / "a", database=url)
    other = await Metastore.open(tmp_path / "b", database=url, feed_size=5)
    heard: list[int] = []
    other.feed.listen_foreign(lambda changes: heard.extend(each.revision for each in changes))

    def many(tx: Transaction) -> None:
        for _ in range(30):
            tx.insert_experiment(experiment())

    for _ in range(60):
        await one.write(many)
    await reaches(other, 60)
    assert heard == [revision for revision in range(1, 61) for _ in range(30)]
    assert other.feed.after(0) is None
    await one.close()
    await other.close()


async def test_a_take_over_waits_for_writes_under_the_old_epoch(
    pair: tuple[Metastore, Metastore],
) -> None:
    """What the old leader has begun is there before the new one leads; then it writes no more."""
    old, new = pair
    epoch = await old.write_unversioned(lambda tx: tx.take_over_lease(None, "gpu", "old", ""))
    began, go_on = threading.Event(), threading.Event()

    def slowly(tx: Transaction) -> None:
        tx.insert_experiment(experiment("begun"))
        began.set()
        go_on.wait(3)

    writing = asyncio.ensure_future(old.write(slowly, fence=Fence("gpu", epoch)))
    await asyncio.to_thread(began.wait, 10)
    seen = await new.lease("gpu")
    taking = asyncio.ensure_future(
        new.write_unversioned(lambda tx: tx.take_over_lease(seen, "gpu", "new", ""))
    )
    await asyncio.sleep(0.3)
    assert not taking.done()
    go_on.set()
    assert await taking == epoch + 1
    await writing
    with pytest.raises(Aborted):
        await old.write(inserting(experiment("late")), fence=Fence("gpu", epoch))
    assert await new.get_experiment("red", "begun") is not None
    assert await new.get_experiment("red", "late") is None


async def test_of_challengers_on_several_servers_one_gets_the_lease(
    pair: tuple[Metastore, Metastore],
) -> None:
    """Also of a lease that nobody had before."""

    async def take_over(store: Metastore, seen: Lease | None) -> int:
        return await store.write_unversioned(lambda tx: tx.take_over_lease(seen, "gpu", "x", ""))

    for _ in range(10):
        seen = await pair[0].lease("gpu")
        tries = (take_over(store, seen) for store in pair)
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        assert sorted(type(each).__name__ for each in outcomes) == ["Aborted", "int"]


async def test_two_that_prune_at_once_agree(tmp_path: Path, databases: Any) -> None:
    """While both write: nothing fails, and what is said to be kept is there."""
    url = databases.of(tmp_path)
    pair = [await Metastore.open(tmp_path / name, database=url, change_limit=5) for name in "ab"]
    for _ in range(5):
        await asyncio.gather(
            *(insert(store, *(experiment() for _ in range(6))) for store in pair),
            *(store.prune() for store in pair),
        )
    await asyncio.gather(*(store.prune() for store in pair))
    oldest = await pair[0].oldest_revision()
    changes = await pair[0].changes_after(oldest, 1000)
    assert [each.revision for each in changes] == list(range(oldest + 1, 61))
    for store in pair:
        await store.close()
