from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subgrpc.metastore import Change, ChangeFeed


def change(revision: int, ordinal: int = 0, uid: str = "u", size: int = 1) -> Change:
    return Change(revision, ordinal, uid, None, b"x" * size, 0, "red", "experiment")


def test_an_empty_feed_knows_where_it_stands() -> None:
    feed = ChangeFeed(10, 7)
    assert (feed.revision, feed.floor) == (7, 7)
    assert feed.after(7) == []
    assert feed.after(6) is None


def test_a_revision_without_changes_moves_on() -> None:
    feed = ChangeFeed(10, 0)
    feed.publish(3, [change(2)])
    assert feed.revision == 3
    assert feed.after(1) == [change(2)]
    assert feed.after(2) == []


@given(
    st.lists(st.lists(st.integers(0, 30), max_size=4), max_size=40),
    st.integers(1, 12),
    st.integers(1, 200),
)
def test_it_gives_all_changes_after_a_revision_or_says_that_it_cannot(
    groups: list[list[int]], size: int, room: int
) -> None:
    feed, log = ChangeFeed(size, 0, room), []
    for revision, sizes in enumerate(groups, 1):
        made = [change(revision, n, f"u{n}", length) for n, length in enumerate(sizes)]
        log += made
        feed.publish(revision, made)
        kept = feed.after(feed.floor)
        assert kept is not None
        assert len(kept) <= size
        for behind in range(revision + 1):
            found = feed.after(behind)
            if behind < feed.floor:
                assert found is None
            else:
                assert found == [each for each in log if each.revision > behind]


def test_images_share_memory() -> None:
    """An experiment that changes often is held once per change, not twice."""
    feed = ChangeFeed(100, 0)
    for revision in range(1, 50):
        before, after = bytes([revision - 1]) * 1000, bytes([revision]) * 1000
        feed.publish(revision, [Change(revision, 0, "u", before, after, 0, "red", "experiment")])
    changes = feed.after(0)
    assert changes is not None
    assert all(new.before is old.after for old, new in pairwise(changes))


async def test_waiting_ends_with_the_next_revision_only() -> None:
    feed = ChangeFeed(10, 5)
    await asyncio.wait_for(feed.wait(4), 1)
    waiter = asyncio.ensure_future(feed.wait(5))
    later = asyncio.ensure_future(feed.wait(6))
    await asyncio.sleep(0)
    feed.publish(6, [])
    await asyncio.wait_for(waiter, 1)
    assert not later.done()
    feed.publish(7, [])
    await asyncio.wait_for(later, 1)


async def test_a_waiter_that_is_cancelled_leaves_the_others_and_nothing_behind() -> None:
    feed = ChangeFeed(10, 0)
    gone = [asyncio.ensure_future(feed.wait(0)) for _ in range(100)]
    stays = asyncio.ensure_future(feed.wait(0))
    await asyncio.sleep(0)
    for each in gone:
        each.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    assert len(feed._waiters) == 1
    feed.publish(1, [])
    await asyncio.wait_for(stays, 1)


@pytest.mark.timeout(20)
async def test_five_thousand_waiters_are_cheap() -> None:
    feed = ChangeFeed(10, 0)
    waiters = [asyncio.ensure_future(feed.wait(0)) for _ in range(5000)]
    await asyncio.sleep(0)
    began = time.monotonic()
    feed.publish(1, [])
    await asyncio.gather(*waiters)
    assert time.monotonic() - began < 1


async def test_who_listens_is_rung_after_every_commit_until_he_stops() -> None:
    """A listener hears of each commit once, when its changes can be read, and then no more."""
    feed = ChangeFeed(10, 0)
    heard: list[int] = []
    forget = feed.listen(lambda: heard.append(feed.revision))
    feed.publish(1, [])
    feed.publish(2, [])
    forget()
    feed.publish(3, [])
    assert heard == [1, 2]


async def test_who_listens_for_other_servers_hears_of_their_changes_only() -> None:
    """Each portion once, in order, when it can be read; until he stops."""
    feed = ChangeFeed(10, 0)
    heard: list[tuple[int, list[int]]] = []

    def hear(changes: Sequence[Change]) -> None:
        heard.append((feed.revision, [each.revision for each in changes]))

    forget = feed.listen_foreign(hear)
    rung: list[int] = []
    feed.listen(lambda: rung.append(feed.revision))
    feed.publish(1, [change(1)])
    feed.publish_foreign(3, [change(2), change(3)])
    forget()
    feed.publish_foreign(4, [change(4)])
    assert heard == [(3, [2, 3])]
    assert rung == [1, 3, 4]
    assert feed.after(0) == [change(1), change(2), change(3), change(4)]


async def test_after_changes_that_cannot_be_had_a_reader_is_told_so() -> None:
    """Who stood before the hole is beyond the ring; who waits goes on behind it."""
    feed = ChangeFeed(10, 0)
    feed.publish(1, [change(1, uid="a")])
    waiter = asyncio.ensure_future(feed.wait(1))
    await asyncio.sleep(0)
    feed.restart(7)
    await asyncio.wait_for(waiter, 1)
    assert (feed.revision, feed.floor) == (7, 7)
    assert feed.after(1) is None
    feed.publish(8, [change(8, uid="a")])
    assert feed.after(7) == [change(8, uid="a")]
