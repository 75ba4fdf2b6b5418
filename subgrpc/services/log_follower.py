"""One stream of logs: a cursor that moves through the journals of an experiment's attempts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from subgrpc.errors import NotFound, SubgrpcError, Unavailable
from subgrpc.journal import Absent, File, JournalReader, JournalStore, Manifest
from subgrpc.metastore import Metastore
from subgrpc.metastore.logs import Log
from subgrpc.services.alarm import Alarm
from subgrpc.services.log_batches import Frames, LogBatches
from subgrpc.services.log_experiment import FollowedExperiment
from subgrpc.services.log_frames import Cursor, FrameBuilder
from subgrpc.services.log_places import (
    LOOKED_AT,
    Found,
    Origin,
    Peers,
    Place,
    Places,
    not_kept,
    rebased,
)
from subgrpc.services.log_relay import Relay
from subgrpc.services.log_store import LogCache
from subgrpc.services.log_target import Target
from subgrpc.v1.experiment_service_pb2 import BookmarkType, ExperimentState, StreamLogsRequest

HEARTBEAT: Final = 15.0
"""Seconds of silence after which a follower gets a bookmark."""
BEHIND_ALL: Final = 1 << 63
"""A position behind everything that was ever in a journal of which nothing is left."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What logs are read from.

    Attributes:
        cache: what of logs is in the artifact store; None: nothing.
        peers: None: only this server can keep output.
        heartbeat: seconds of silence after which a follower gets a bookmark.
    """

    metastore: Metastore
    journals: JournalStore
    batches: LogBatches
    places: Places
    cache: LogCache | None
    peers: Peers | None
    heartbeat: float


class Follower:
    """One stream; `start` it, take its `frames`, and `close` it."""

    def __init__(
        self,
        sources: Sources,
        request: StreamLogsRequest,
        target: Target,
        builder: FrameBuilder,
        draining: asyncio.Event,
    ) -> None:
        self._from = sources
        self._request = request
        self._target = target
        self._builder = builder
        self._follow = request.follow
        self._draining = draining
        self._alarm = Alarm(draining)
        self._experiment = FollowedExperiment(sources.metastore, target, self._alarm)
        self._cursor = Cursor()
        self._tail: int | None = None
        self._complete = True
        self._moved = False
        self._due = self._now() + sources.heartbeat
        self._ahead: Frames | None = None

    def start(self, cursor: Cursor) -> None:
        """Says where to begin; lines of a tail are counted when its journal is read."""
        self._cursor = cursor
        wants_tail = self._request.HasField("tail_lines") and not self._request.resume_token
        if wants_tail and cursor.attempt:
            self._tail = self._request.tail_lines

    def close(self) -> None:
        """Ends what would wake it."""
        self._alarm.close()

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Yields the frames of all attempts asked for, and what is to be said after them."""
        while not self._draining.is_set():
            if self._cursor.attempt:
                async with aclosing(self._attempt()) as frames:
                    async for frame in frames:
                        self._due = self._now() + self._from.heartbeat
                        yield frame
                if self._draining.is_set():
                    break
            self._alarm.clear()
            self._experiment.listen()
            experiment = await self._experiment.get()
            attempt = self._cursor.attempt
            following = self._experiment.next_attempt(attempt, experiment, follow=self._follow)
            if following:
                self._cursor = Cursor(following)
            elif self._experiment.is_over(attempt, experiment, complete=self._complete):
                yield self._builder.end(experiment.state, self._cursor)
                return
            elif not self._follow:
                return
            elif not await self._alarm.wait(self._due):
                yield self._heartbeat()
        yield self._builder.bookmark(BookmarkType.BOOKMARK_TYPE_SERVER_DRAINING, self._cursor)

    async def part(self) -> AsyncGenerator[bytes, None]:
        """Yields what another server asked for: see `Logs.stream`.

        Raises:
            Unavailable: LOGS_UNAVAILABLE, it stands elsewhere by now.
        """
        uid, attempt = self._target.uid, self._cursor.attempt
        reader = self._from.journals.reader(uid, attempt)
        found = await self._from.places.find(uid, attempt)
        if found.origin in (Origin.NOWHERE, Origin.PEER):
            raise not_kept(self._target.name, attempt)
        async with aclosing(self._source(reader, found)) as frames:
            async for frame in frames:
                self._due = self._now() + self._from.heartbeat
                yield frame
        if self._draining.is_set():
            yield self._builder.bookmark(BookmarkType.BOOKMARK_TYPE_SERVER_DRAINING, self._cursor)
        elif self._moved:
            raise not_kept(self._target.name, attempt)
        elif self._complete:
            yield self._builder.end(ExperimentState.EXPERIMENT_STATE_UNSPECIFIED, self._cursor)
        else:
            kind = BookmarkType.BOOKMARK_TYPE_INITIAL_STATE_COMPLETE
            yield self._builder.bookmark(kind, self._cursor)

    async def _attempt(self) -> AsyncGenerator[bytes, None]:
        """Yields the frames of one attempt: to its end, or (no follow) to what is there now.

        They are read where its output is, and wherever that comes to be meanwhile.
        """
        uid, attempt = self._target.uid, self._cursor.attempt
        while not self._draining.is_set():
            # Made before it is known that the journal is to be read: were it deleted and begun
            # anew in between, this reader would know.
            reader = self._from.journals.reader(uid, attempt)
            found = await self._from.places.find(uid, attempt)
            self._moved = False
            if found.origin == Origin.NOWHERE:
                if await self._nowhere(found.place):
                    return
                continue
            async with aclosing(self._source(reader, found)) as frames:
                async for frame in frames:
                    yield frame
            if not self._moved:
                return

    def _source(self, reader: JournalReader, found: Found) -> AsyncGenerator[bytes, None]:
        """What yields the frames from where they were found; `reader` is of this server's own."""
        if found.origin == Origin.PEER:
            assert self._from.peers is not None
            assert found.place is not None
            return self._relay(self._from.peers, found.place)
        if found.log is None:
            return self._journal(reader, found.place)
        if found.origin == Origin.EXPIRED:
            return self._expired(found.log)
        return self._journal(self._from.places.fetched(found.log), found.place)

    async def _expired(self, log: Log) -> AsyncGenerator[bytes, None]:
        """Says that the rest of an attempt is gone, unless all of it was sent before."""
        end = Manifest.from_bytes(log.body).end if log.body else BEHIND_ALL
        known = self._cursor.journal == log.journal and self._tail is None
        if not known or self._cursor.position < end:
            self._tail = None
            self._cursor = self._cursor._replace(position=end, skip=0, journal=log.journal)
            yield self._builder.expired(self._cursor, self._target.task, self._target.stream)

    async def _nowhere(self, place: Place | None) -> bool:
        """An attempt of which no output was ever collected: whether that is all, for now."""
        self._alarm.clear()
        self._experiment.listen()
        await self._experiment.get()
        if place is not None and place.complete:
            return True
        if not self._follow:
            self._complete = False
            return True
        await self._alarm.wait(self._now() + LOOKED_AT)
        return False

    async def _journal(
        self, reader: JournalReader, place: Place | None
    ) -> AsyncGenerator[bytes, None]:
        """Yields the frames of an attempt from a journal of this disk; `place` where it can move.

        What of it only the artifact store has is fetched when its turn comes.
        """
        while not self._draining.is_set():
            try:
                async with aclosing(self._present(reader, place)) as frames:
                    async for frame in frames:
                        yield frame
                return
            except Absent as absent:
                missing = absent.file
            if missing is None:  # it was evicted as a whole
                self._moved = True
                return
            try:
                async with aclosing(self._fetched(missing)) as heartbeats:
                    async for heartbeat in heartbeats:
                        yield heartbeat
            except NotFound:  # it has expired, or went with its experiment
                self._moved = True
                return

    async def _fetched(self, file: File) -> AsyncGenerator[bytes, None]:
        """Waits until a file is there; yields heartbeats."""
        assert self._from.cache is not None
        fetching = asyncio.ensure_future(self._from.cache.fetch(file))
        fetching.add_done_callback(lambda _: self._alarm.ring())
        try:
            while not fetching.done() and not self._draining.is_set():
                self._alarm.clear()
                if not await self._alarm.wait(self._due):
                    yield self._heartbeat()
            if fetching.done():
                fetching.result()
        finally:
            fetching.cancel()

    async def _present(
        self, reader: JournalReader, place: Place | None
    ) -> AsyncGenerator[bytes, None]:
        """As `_journal`, up to what is `Absent`: it goes on there when it is called again."""
        soon = asyncio.get_running_loop().call_soon
        self._ahead = None
        forget = reader.listen(self._alarm.ring)
        try:
            await self._arrive(reader, place)
            until = None if self._follow else reader.end
            while not self._draining.is_set():
                self._alarm.clear()
                end = reader.end
                found = self._ahead or await self._from.batches.read(
                    reader, self._target, self._builder, self._cursor
                )
                self._ahead, self._cursor = None, found.cursor
                if found.frames and found.cursor.position < end:
                    soon(self._read_ahead, reader, found.cursor)
                for frame in found.frames:
                    yield frame
                if until is not None and self._cursor.position >= until:
                    self._complete &= await self._at_its_end(reader)
                    return
                if self._cursor.position < end:
                    if not found.frames:  # nothing of it was wanted
                        await asyncio.sleep(0)
                    if self._now() >= self._due:
                        yield self._heartbeat()
                # Not looked at again before the journal's bell rings: so that what comes fast
                # goes in few messages.
                elif await self._at_its_end(reader):
                    return
                elif not await self._alarm.wait(self._next_look(place)):
                    if await self._has_moved(place):
                        return
                    if self._now() >= self._due:
                        yield self._heartbeat()
        except NotFound as error:
            if error.reason != "LOGS_DELETED" or not await self._has_moved(place):
                raise
        finally:
            forget()

    async def _arrive(self, reader: JournalReader, place: Place | None) -> None:
        """Brings the cursor into a journal: to its tail, or to where it stood in another one.

        Raises:
            OutOfRange: it cannot be known where that is.
        """
        if place is not None:
            self._cursor = rebased(self._cursor, place.journal, reader)
        if self._tail is None:
            return
        task, stream = self._target.task, self._target.stream
        start = await asyncio.to_thread(reader.tail, self._tail, task=task, stream=stream)
        self._cursor = self._cursor._replace(position=start.position, skip=start.skip)
        if place is not None:
            streams = await asyncio.to_thread(reader.streams, start)
            wanted = {
                key: state
                for key, state in streams.items()
                if (not task or key[0] == task) and stream in (0, key[1])
            }
            self._cursor = self._builder.starting(self._cursor, wanted)
        self._tail = None

    async def _relay(self, peers: Peers, place: Place) -> AsyncGenerator[bytes, None]:
        """Yields the frames of an attempt from another server's journal.

        Raises:
            Unavailable: LOGS_UNAVAILABLE, it does not answer, and nobody else has taken it over.
        """
        relay = Relay(self._request, self._builder, self._cursor, self._tail)
        attempt = self._cursor.attempt
        try:
            async with aclosing(peers.logs(place.server, relay.request, attempt)) as frames:
                async for frame in frames:
                    if self._draining.is_set() or (not frame and await self._has_moved(place)):
                        return
                    if frame and relay.take(frame):
                        yield frame
            self._complete &= relay.end()
        except Unavailable:
            self._moved = await self._from.places.is_readable(self._target.uid, attempt)
            if not self._moved and not await self._has_moved(place):
                raise
        finally:
            self._cursor, self._tail = relay.cursor()

    def _read_ahead(self, reader: JournalReader, cursor: Cursor) -> None:
        """Builds the next frames while the ones before are on their way, which takes as long."""
        if self._cursor == cursor and self._ahead is None:
            # What is wrong there is said when the follower comes there.
            with contextlib.suppress(SubgrpcError, Absent):
                self._ahead = self._from.batches.ahead(reader, self._target, self._builder, cursor)

    def _next_look(self, place: Place | None) -> float:
        """Until when to wait for output."""
        return self._due if place is None else min(self._due, self._now() + LOOKED_AT)

    async def _has_moved(self, place: Place | None) -> bool:
        """Whether the journal stands elsewhere by now, or was begun anew.

        Raises:
            NotFound: the experiment was deleted.
        """
        if place is None:
            return False
        try:
            found = await self._from.places.recent(self._target.uid, self._cursor.attempt)
        except Unavailable:
            return False  # nothing moves without the metastore
        if found is None:
            await self._experiment.get()
        self._moved = found is not None and found[:2] != place[:2]
        return self._moved

    async def _at_its_end(self, reader: JournalReader) -> bool:
        """Whether no more output of the attempt will come than has been sent."""
        if reader.sealed:
            return reader.at_end(self._cursor.position)
        if reader.end:
            return False
        # Nothing was written yet: perhaps nothing ever will be, or it is gone with its experiment.
        self._experiment.listen()
        await self._experiment.get()
        return await self._experiment.is_complete(self._cursor.attempt)

    def _heartbeat(self) -> bytes:
        self._due = self._now() + self._from.heartbeat
        return self._builder.bookmark(BookmarkType.BOOKMARK_TYPE_HEARTBEAT, self._cursor)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
