"""Leases pass from server to server, one at a time; servers say where they are."""

from __future__ import annotations

import asyncio

import pytest

from subgrpc.errors import Aborted
from subgrpc.metastore import Lease, Metastore, ServerRecord


async def take_over(store: Metastore, seen: Lease | None, holder: str, home: str = "") -> int:
    return await store.write_unversioned(lambda tx: tx.take_over_lease(seen, "gpu", holder, home))


async def test_a_lease_is_taken_as_it_was_seen_or_not_at_all(store: Metastore) -> None:
    """Whoever saw an older state of it is refused: the holder renewed it meanwhile."""
    assert await take_over(store, None, "a", "here") == 1
    first = await store.lease("gpu")
    assert first == Lease("clusters/gpu", "a", 1, 0, "here")
    await store.write_unversioned(lambda tx: tx.renew_lease("gpu", 1))
    for stale in (None, first):
        with pytest.raises(Aborted) as caught:
            await take_over(store, stale, "b")
        assert caught.value.reason == "LEASE_LOST"
    renewed = await store.lease("gpu")
    assert await take_over(store, renewed, "b", "here") == 2
    assert await store.lease("gpu") == Lease("clusters/gpu", "b", 2, 2, "here")


async def test_of_many_challengers_one_gets_it(store: Metastore) -> None:
    """However many saw it stand still at the same time."""
    await take_over(store, None, "dead")
    seen = await store.lease("gpu")
    tries = [take_over(store, seen, f"s{number}") for number in range(10)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(each).__name__ for each in outcomes) == ["Aborted"] * 9 + ["int"]


async def test_a_server_is_found_where_it_was_last(store: Metastore) -> None:
    """A restart on another port replaces what was known."""
    assert await store.server("s") is None
    for address in ("10.0.0.1:7411", "10.0.0.1:7412"):
        record = ServerRecord("s", address, "node", "1.0", 5)
        await store.write_unversioned(lambda tx, record=record: tx.save_server(record))
        assert await store.server("s") == record
