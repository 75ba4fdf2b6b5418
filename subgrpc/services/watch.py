"""WatchExperiments: a cursor over the change log for every watcher, never a queue of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from subgrpc.filters import EXPERIMENT_FIELDS, parse_filter
from subgrpc.metastore import Metastore
from subgrpc.services.alarm import Alarm
from subgrpc.services.experiment_changes import known_team
from subgrpc.services.watch_cursor import Cursor, Pending, View
from subgrpc.tokens import TokenCodec
from subgrpc.v1 import experiment_service_pb2 as api


class Watches:
    """The use case WatchExperiments."""

    def __init__(
        self, store: Metastore, tokens: TokenCodec, draining: asyncio.Event, heartbeat: float
    ) -> None:
        """Makes it.

        Args:
            store: where experiments and changes are read.
            tokens: makes resume tokens.
            draining: set when the server is about to stop.
            heartbeat: seconds without a frame after which there is a bookmark.
        """
        self._store = store
        self._tokens = tokens
        self._draining = draining
        self._heartbeat = heartbeat

    async def watch(self, request: api.WatchExperimentsRequest) -> AsyncGenerator[bytes, None]:
        """Yields serialised WatchExperimentsResponse frames."""
        cursor = self._cursor(request)
        async for frame in cursor.begin():
            yield frame
            if self._draining.is_set():
                break
        alarm = Alarm(self._draining)
        forget = self._store.feed.listen(alarm.ring)
        try:
            async for frame in self._follow(cursor, alarm):
                yield frame
        finally:
            forget()
            alarm.close()

    def _cursor(self, request: api.WatchExperimentsRequest) -> Cursor:
        team = known_team(request.parent)
        chosen = parse_filter(request.filter, EXPERIMENT_FIELDS)
        text = chosen.text if chosen is not None else ""
        # A token is bound to what is watched: that of another team or filter is refused.
        sealer = self._tokens.sealer("watch", f"{team}\n{text}".encode())
        pending = Pending() if request.until_terminal else None
        return Cursor(self._store, View(team, chosen), sealer, request.resume_token, pending)

    async def _follow(self, cursor: Cursor, alarm: Alarm) -> AsyncGenerator[bytes, None]:
        """Changes as they come, until the server stops or nothing more is asked for."""
        now = asyncio.get_running_loop().time
        spoke = now()
        while not cursor.over():
            alarm.clear()
            if self._draining.is_set():
                yield cursor.bookmark(api.BOOKMARK_TYPE_SERVER_DRAINING)
                return
            for frame in await cursor.follow():
                yield frame
                spoke = now()
                if self._draining.is_set():
                    break
            if now() - spoke >= self._heartbeat:
                yield cursor.bookmark(api.BOOKMARK_TYPE_HEARTBEAT)
                spoke = now()
            if cursor.over():
                return
            if self._store.feed.revision > cursor.position.revision:
                await asyncio.sleep(0)
            else:
                await alarm.wait(spoke + self._heartbeat)
