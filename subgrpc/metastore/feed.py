"""The newest changes in memory, and how to wait for the next: the change log's ring.

A watcher is a cursor (a revision) into it and has no queue of its own. Everything here runs on
the event loop.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence

from subgrpc.metastore.records import Change

FEED_BYTES = 32 << 20
"""The ring never holds more bytes of experiments than this, however few changes those are."""


class ChangeFeed:
    """A ring of the last changes, filled after each durable commit, in revision order."""

    def __init__(self, size: int, revision: int, max_bytes: int = FEED_BYTES) -> None:
        """Makes an empty ring at `revision`, of at most `size` changes and `max_bytes` bytes."""
        self._size = size
        self._max_bytes = max_bytes
        self._bytes = 0
        self._changes: list[Change] = []
        self._sizes: list[int] = []
        self._last: dict[str, bytes] = {}
        self._revision = revision
        self._floor = revision
        self._waiters: set[asyncio.Future[None]] = set()
        self._listeners: dict[object, Callable[[], None]] = {}
        self._foreign_listeners: dict[object, Callable[[Sequence[Change]], None]] = {}

    @property
    def revision(self) -> int:
        """The newest revision that is committed."""
        return self._revision

    @property
    def floor(self) -> int:
        """The oldest revision after which every change is in the ring."""
        return self._floor

    def after(self, revision: int) -> list[Change] | None:
        """Returns all changes after a revision, in commit order; None: beyond the ring."""
        if revision < self._floor:
            return None
        if revision >= self._revision:
            return []
        return self._changes[bisect_right(self._changes, revision, key=_revision_of) :]

    async def wait(self, revision: int) -> None:
        """Returns once the newest revision is greater than `revision`."""
        while self._revision <= revision:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    def listen(self, ring: Callable[[], None]) -> Callable[[], None]:
        """Has `ring` called after every commit, until what is returned is called."""
        key = object()
        self._listeners[key] = ring

        def forget() -> None:
            self._listeners.pop(key, None)

        return forget

    def listen_foreign(self, callback: Callable[[Sequence[Change]], None]) -> Callable[[], None]:
        """Has `callback` called with changes that another server made.

        It is called once for each of them, in commit order and in portions, when they can be read
        here; until what is returned is called. Now and then one of its own is among them. With
        SQLite, which has one server, never.

        A call without changes: some were missed that are no longer kept, so look at everything.
        """
        key = object()
        self._foreign_listeners[key] = callback

        def forget() -> None:
            self._foreign_listeners.pop(key, None)

        return forget

    def publish_foreign(self, revision: int, changes: Sequence[Change]) -> None:
        """As `publish`, of what another server committed."""
        self.publish(revision, changes)
        for callback in list(self._foreign_listeners.values()):
            callback(changes)

    def restart(self, revision: int) -> None:
        """Empties the ring: the changes up to `revision` that are not in it cannot be had."""
        self._changes.clear()
        self._sizes.clear()
        self._last.clear()
        self._bytes = 0
        self._floor = revision
        self.publish(revision, ())

    def publish(self, revision: int, changes: Sequence[Change]) -> None:
        """Takes the changes of a committed group whose last revision is `revision`."""
        self._revision = revision
        for change in changes:
            self._append(change)
        self._trim()
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        for ring in list(self._listeners.values()):
            ring()

    def _append(self, change: Change) -> None:
        """Appends a change; its before-image shares memory with the after-image before it."""
        size = len(change.after or b"")
        last = self._last.get(change.uid)
        if last is not None and last == change.before:
            change = change._replace(before=last)
        else:
            size += len(change.before or b"")
        if change.after is None:
            self._last.pop(change.uid, None)
        else:
            self._last[change.uid] = change.after
        self._changes.append(change)
        self._sizes.append(size)
        self._bytes += size

    def _trim(self) -> None:
        """Drops the oldest revisions, whole, while there is too much."""
        changes, drop = self._changes, 0
        while drop < len(changes) and self._too_much(len(changes) - drop):
            self._floor = changes[drop].revision
            while drop < len(changes) and changes[drop].revision == self._floor:
                self._forget(changes[drop], self._sizes[drop])
                drop += 1
        if drop:
            del changes[:drop], self._sizes[:drop]

    def _too_much(self, count: int) -> bool:
        return count > self._size or self._bytes > self._max_bytes

    def _forget(self, change: Change, size: int) -> None:
        self._bytes -= size
        if change.after is not None and self._last.get(change.uid) is change.after:
            del self._last[change.uid]


def _revision_of(change: Change) -> int:
    return change.revision
