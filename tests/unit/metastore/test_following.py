"""The feed's follower ends when it is told to, whatever comes at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from subgrpc.metastore import Metastore
from subgrpc.metastore.following import Following


class Rings:
    """Another server that has just committed something, whenever it is asked."""

    def __init__(self) -> None:
        self.ring: Callable[[], None]

    async def listen(self, ring: Callable[[], None]) -> None:
        self.ring = ring
        await asyncio.Event().wait()


async def test_it_ends_though_a_commit_is_heard_of_at_the_same_moment(store: Metastore) -> None:
    """Before Python 3.12 `wait_for` swallows the cancellation then."""
    listener = Rings()
    for _ in range(3):
        following = Following(store.feed, store._listing, listener)
        await asyncio.sleep(0.002)
        listener.ring()
        await asyncio.wait_for(following.close(), 20)
