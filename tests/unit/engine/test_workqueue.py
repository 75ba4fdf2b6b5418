"""The work queue: no key is lost, none is worked on twice at a time."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subgrpc.engine.workqueue import FIRST_BACKOFF, WorkQueue


async def test_a_key_that_waits_is_there_once() -> None:
    """Adding a waiting key again changes nothing."""
    queue = WorkQueue()
    for key in ("a", "b", "a"):
        queue.add(key)
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 2
    queue.done("a")
    queue.done("b")
    assert len(queue) == 0


async def test_a_key_added_while_worked_on_comes_again_afterwards() -> None:
    """What happens during the work on a key is not missed, and not worked on beside it."""
    queue = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("b")
    assert await queue.get() == "b"
    queue.done("a")
    assert await queue.get() == "a"


async def test_a_delayed_key_keeps_its_earliest_time() -> None:
    """A later time never replaces an earlier one."""
    queue = WorkQueue()
    queue.add_later("a", 0.01)
    queue.add_later("a", 60)
    assert await asyncio.wait_for(queue.get(), 5) == "a"
    queue.close()


async def test_backoff_grows_until_the_key_is_forgotten() -> None:
    """Retries wait longer and longer; after a success they start anew."""
    queue = WorkQueue()
    delays = [queue.retry("a") for _ in range(5)]
    assert delays[4] > delays[0] * 4
    queue.forget("a")
    assert queue.retry("a") <= FIRST_BACKOFF * 1.25
    queue.close()


async def test_close_cancels_what_was_to_come_later() -> None:
    """After `close` no timer fires."""
    queue = WorkQueue()
    queue.add_later("a", 0.001)
    queue.close()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(queue.get(), 0.05)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_every_added_key_is_worked_on_after_it_was_added(steps: list[tuple[str, bool]]) -> None:
    """However adding and working interleave: each key's last work starts after its last add."""

    async def run() -> None:
        queue = WorkQueue()
        dirty: set[str] = set()
        working: list[str] = []
        for key, add in steps:
            if add or not len(queue):
                queue.add(key)
                dirty.add(key)
            elif working:
                queue.done(working.pop(0))
            else:
                taken = await asyncio.wait_for(queue.get(), 1)
                assert taken not in working
                dirty.discard(taken)
                working.append(taken)
        while dirty or working:
            if working:
                queue.done(working.pop())
            if dirty:
                taken = await asyncio.wait_for(queue.get(), 1)
                dirty.discard(taken)
                working.append(taken)

    asyncio.run(run())
