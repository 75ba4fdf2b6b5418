"""Brings the change feed up to date with what other servers commit to the same database.

Revisions have no holes and are committed in order, so whatever lies between the feed's revision and
one that is known can be read. Own commits come from the writer; one that other servers' commits
stand before waits until these are read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from subgrpc.ending import end
from subgrpc.errors import RetryableError
from subgrpc.metastore.database import Listener
from subgrpc.metastore.feed import ChangeFeed
from subgrpc.metastore.listing import Listing
from subgrpc.metastore.records import Change

POLL_SECONDS: Final = 1.0
"""How late a commit can be seen whose notification was lost."""
PORTION: Final = 1000
"""Changes that are read at a time."""


class _Own(NamedTuple):
    revision: int
    changes: Sequence[Change]


class Following:
    """Keeps one feed up to date, from construction to `close`, on the event loop."""

    def __init__(self, feed: ChangeFeed, listing: Listing, listener: Listener) -> None:
        self._feed = feed
        self._listing = listing
        self._held: dict[int, _Own] = {}
        self._rung = asyncio.Event()
        self._tasks = (
            asyncio.create_task(self._follow(), name="metastore-following"),
            asyncio.create_task(listener.listen(self._rung.set), name="metastore-listening"),
        )

    async def close(self) -> None:
        """Stops."""
        await end(self._tasks)

    def publish(self, before: int, revision: int, changes: Sequence[Change]) -> None:
        """Takes an own commit, which made the revisions after `before` up to `revision`."""
        self._held[before] = _Own(revision, changes)
        self._publish_held()
        if self._held:
            self._rung.set()

    async def caught_up(self) -> None:
        """Returns once the feed has all that was committed when this was called.

        Raises:
            Unavailable: METASTORE_UNAVAILABLE.
        """
        newest = await self._listing.newest()
        if newest > self._feed.revision:
            self._rung.set()
            await self._feed.wait(newest - 1)

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._rung.wait(), POLL_SECONDS)
            self._rung.clear()
            try:
                await self._catch_up()
            except RetryableError:
                await asyncio.sleep(POLL_SECONDS)
                self._rung.set()

    async def _catch_up(self) -> None:
        feed, reached = self._feed, -1
        while reached != feed.revision:
            reached = feed.revision
            until = min((each for each in self._held if each >= reached), default=None)
            portion = await self._listing.portion(reached, until, PORTION)
            if portion.oldest > reached:
                feed.restart(portion.oldest)
                feed.publish_foreign(portion.oldest, ())
            fresh = [each for each in portion.changes if each.revision > feed.revision]
            if portion.reached > feed.revision:
                feed.publish_foreign(portion.reached, fresh)
            self._publish_held()

    def _publish_held(self) -> None:
        """Publishes own commits as far as nothing is missing before them."""
        feed = self._feed
        for before in sorted(self._held):
            if before > feed.revision:
                return
            own = self._held.pop(before)
            if own.revision > feed.revision:
                fresh = [each for each in own.changes if each.revision > feed.revision]
                feed.publish(own.revision, fresh)
