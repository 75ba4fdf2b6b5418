"""Watches: a cursor over the change log for every watcher, never a queue of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from subgrpc.filters import EXPERIMENT_FIELDS, WATCH_FIELDS, parse_filter
from subgrpc.metastore import EXPERIMENTS, MODEL_VERSIONS, MODELS, Metastore
from subgrpc.services.alarm import Alarm
from subgrpc.services.experiment_changes import known_team
from subgrpc.services.watch_cursor import Cursor, Pending, View
from subgrpc.tokens import TokenCodec
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.model_registry_service_pb2 import WatchModelsRequest


class Watches:
    """The use cases that watch."""

    def __init__(
        self, store: Metastore, tokens: TokenCodec, draining: asyncio.Event, heartbeat: float
    ) -> None:
        """Makes it.

        Args:
            store: where resources and changes are read.
            tokens: makes resume tokens.
            draining: set when the server is about to stop.
            heartbeat: seconds without a frame after which there is a bookmark.
        """
        self._store = store
        self._tokens = tokens
        self._draining = draining
        self._heartbeat = heartbeat

    def watch(self, request: api.WatchExperimentsRequest) -> AsyncGenerator[bytes, None]:
        """Returns serialised WatchExperimentsResponse frames."""
        team = known_team(request.parent)
        chosen = parse_filter(request.filter, EXPERIMENT_FIELDS)
        view = View(team, chosen, (EXPERIMENTS,), {EXPERIMENTS.name: 2})
        pending = Pending() if request.until_terminal else None
        return self._frames("watch", view, request.resume_token, pending)

    def watch_models(self, request: WatchModelsRequest) -> AsyncGenerator[bytes, None]:
        """Returns serialised WatchModelsResponse frames."""
        team = known_team(request.parent)
        chosen = parse_filter(request.filter, WATCH_FIELDS)
        fields = {MODELS.name: 2, MODEL_VERSIONS.name: 4}
        view = View(team, chosen, (MODELS, MODEL_VERSIONS), fields)
        return self._frames("watch models", view, request.resume_token)

    async def _frames(
        self, what: str, view: View, token: str, pending: Pending | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The initial state, then what changes, until the server stops or it is over.

        Args:
            what: the kind of its tokens.
            view: what is watched.
            token: where to go on; empty: from the beginning.
            pending: decides when it is over; None: it never is.
        """
        text = view.filter.text if view.filter is not None else ""
        # A token is bound to what is watched: that of another team or filter is refused.
        sealer = self._tokens.sealer(what, f"{view.team}\n{text}".encode())
        cursor = Cursor(self._store, view, sealer, token, pending)
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
