from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from subgrpc.errors import NotFound
from subgrpc.journal import JournalStore
from subgrpc.journal.bell import INTERVAL, Bell

UID = "0" * 26


@pytest.fixture
def store(tmp_path: Path) -> JournalStore:
    return JournalStore(tmp_path / "journals")


async def test_a_waiter_is_woken_by_output(store: JournalStore) -> None:
    """Also if the journal is not there yet; at once where output is there already."""
    waiting = asyncio.ensure_future(store.wait(UID, 1, 0))
    await asyncio.sleep(0)
    log = store.writer(UID, 1)
    assert not waiting.done()
    log.append("main-0", 1, 0, b"x", 0)
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(store.wait(UID, 1, 0), 5)


async def test_a_waiter_is_woken_by_the_end_from_another_thread(store: JournalStore) -> None:
    """As the engine seals."""
    log = store.writer(UID, 1)
    waiting = asyncio.ensure_future(store.wait(UID, 1, 0))
    await asyncio.sleep(0)
    await asyncio.to_thread(log.seal)
    await asyncio.wait_for(waiting, 5)


async def test_a_waiter_is_woken_by_deletion(store: JournalStore) -> None:
    """And told."""
    store.writer(UID, 1).append("main-0", 1, 0, b"x", 0)
    position = store.reader(UID, 1).end
    waiting = asyncio.ensure_future(store.wait(UID, 1, position))
    await asyncio.sleep(0)
    await asyncio.to_thread(store.delete, UID)
    with pytest.raises(NotFound):
        await asyncio.wait_for(waiting, 5)


async def test_a_hundred_thousand_appends_wake_a_hundred_followers_seldom() -> None:
    """The first at once, then together; the last is never forgotten."""
    bell, calls, rings = Bell(), [0] * 100, 100_000

    def count(number: int) -> None:
        calls[number] += 1

    tokens = [bell.listen(lambda number=number: count(number)) for number in range(100)]  # type: ignore[misc]
    bell.ring()
    assert calls == [1] * 100
    started = time.monotonic()
    for _ in range(rings):
        bell.ring()
    last = asyncio.Event()
    bell.listen(last.set)
    bell.ring()
    await asyncio.wait_for(last.wait(), 5)
    assert 2 <= calls[0] <= 3 + (time.monotonic() - started) / INTERVAL
    for token in tokens:
        bell.forget(token)
    bell.ring()
    assert max(calls) == calls[0]


def test_a_bell_that_nobody_hears_may_be_rung_anywhere(store: JournalStore) -> None:
    """Without an event loop too; and a new loop's listeners hear it after an old loop's."""
    for _ in range(2):
        asyncio.run(test_a_waiter_is_woken_by_the_end_from_another_thread(store))
        store.delete(UID)
        store = JournalStore(store._root)
