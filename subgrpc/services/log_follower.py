"""One stream of logs: a cursor that moves through the journals of an experiment's attempts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from subgrpc.errors import NotFound, OutOfRange, SubgrpcError, Unavailable
from subgrpc.journal import JournalReader, JournalStore
from subgrpc.metastore import Metastore
from subgrpc.services.alarm import Alarm
from subgrpc.services.log_batches import Frames, LogBatches
from subgrpc.services.log_frames import Cursor, FrameBuilder
from subgrpc.services.log_places import LOOKED_AT, Peers, Place, Places, not_kept
from subgrpc.services.log_reached import TOO_MANY
from subgrpc.services.log_relay import Relay
from subgrpc.services.log_target import Target
from subgrpc.v1.experiment_service_pb2 import (
    BookmarkType,
    Experiment,
    ExperimentState,
    StreamLogsRequest,
)

HEARTBEAT: Final = 15.0
"""Seconds of silence after which a follower gets a bookmark."""

_OVER: Final = frozenset(
    (
        ExperimentState.EXPERIMENT_STATE_SUCCEEDED,
        ExperimentState.EXPERIMENT_STATE_FAILED,
        ExperimentState.EXPERIMENT_STATE_CANCELLED,
        ExperimentState.EXPERIMENT_STATE_DELETING,
    )
)


@dataclass(frozen=True, slots=True)
class Sources:
    """What logs are read from.

    Attributes:
        peers: None: only this server can keep output.
        heartbeat: seconds of silence after which a follower gets a bookmark.
    """

    metastore: Metastore
    journals: JournalStore
    batches: LogBatches
    places: Places
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
        self._cursor = Cursor()
        self._tail: int | None = None
        self._complete = True
        self._moved = False
        self._due = self._now() + sources.heartbeat
        self._revision = -1
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
            self._listen_to_changes()
            experiment = await self._experiment()
            following = self._next_attempt(experiment)
            if following:
                self._cursor = Cursor(following)
            elif self._is_over(experiment):
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
        journals, own = self._from.journals, self._from.metastore.server_id
        reader = journals.reader(uid, attempt)
        place = await self._from.places.of(uid, attempt)
        if place is None or place.server != own:
            raise not_kept(self._target.name, attempt)
        async with aclosing(self._journal(reader, place)) as frames:
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

    def _attempt(self) -> AsyncGenerator[bytes, None]:
        """Yields the frames of one attempt: to its end, or (no follow) to what is there now."""
        if self._from.peers is not None:
            return self._wherever(self._from.peers)
        return self._journal(self._from.journals.reader(self._target.uid, self._cursor.attempt))

    async def _wherever(self, peers: Peers) -> AsyncGenerator[bytes, None]:
        """Yields the frames of an attempt from the server that keeps it, whichever that becomes."""
        uid, attempt = self._target.uid, self._cursor.attempt
        while not self._draining.is_set():
            # Made before it is known that the journal is to be read: were it deleted and begun
            # anew in between, this reader would know.
            reader = self._from.journals.reader(uid, attempt)
            place = await self._from.places.of(uid, attempt)
            self._moved = False
            if place is None or not place.server:
                if await self._nowhere(place):
                    return
                continue
            if place.server == self._from.metastore.server_id:
                source = self._journal(reader, place)
            else:
                source = self._relay(peers, place)
            async with aclosing(source) as frames:
                async for frame in frames:
                    yield frame
            if not self._moved:
                return

    async def _nowhere(self, place: Place | None) -> bool:
        """An attempt of which no output was ever collected: whether that is all, for now."""
        self._alarm.clear()
        self._listen_to_changes()
        await self._experiment()
        if place is not None and place.complete:
            return True
        if not self._follow:
            self._complete = False
            return True
        await self._alarm.wait(self._now() + LOOKED_AT)
        return False

    async def _journal(
        self, reader: JournalReader, place: Place | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yields the frames of an attempt from this server's journal; `place` where it can move."""
        uid, attempt = self._target.uid, self._cursor.attempt
        soon = asyncio.get_running_loop().call_soon
        self._ahead = None
        forget = self._from.journals.listen(uid, attempt, self._alarm.ring)
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
            self._cursor = _rebased(self._cursor, place.journal, reader)
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
            if not await self._has_moved(place):
                raise
        finally:
            self._cursor, self._tail = relay.cursor()

    def _read_ahead(self, reader: JournalReader, cursor: Cursor) -> None:
        """Builds the next frames while the ones before are on their way, which takes as long."""
        if self._cursor == cursor and self._ahead is None:
            # What is wrong there is said when the follower comes there.
            with contextlib.suppress(SubgrpcError):
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
            await self._experiment()
        self._moved = found is not None and found[:2] != place[:2]
        return self._moved

    async def _at_its_end(self, reader: JournalReader) -> bool:
        """Whether no more output of the attempt will come than has been sent."""
        if reader.sealed:
            return reader.at_end(self._cursor.position)
        if reader.end:
            return False
        # Nothing was written yet: perhaps nothing ever will be, or it is gone with its experiment.
        self._listen_to_changes()
        await self._experiment()
        row = await self._from.metastore.attempt(self._target.uid, self._cursor.attempt)
        return row is not None and row.logs_complete

    def _next_attempt(self, experiment: Experiment) -> int:
        """Returns the attempt to go on with; 0: there is none now."""
        if self._target.attempt:
            return 0 if self._cursor.attempt else self._target.attempt
        last = experiment.attempt if self._follow else self._target.latest
        following = max(self._cursor.attempt + 1, self._target.first)
        return following if following <= last else 0

    def _is_over(self, experiment: Experiment) -> bool:
        """Whether, after the attempt that was read last, no more output will come."""
        if self._target.attempt:
            return self._complete
        everything = self._cursor.attempt >= experiment.attempt
        return self._complete and everything and experiment.state in _OVER

    async def _experiment(self) -> Experiment:
        stored = await self._from.metastore.get_experiment_by_uid(self._target.uid)
        if stored is None:
            text = f"{self._target.name} was deleted"
            raise NotFound(text, reason="EXPERIMENT_NOT_FOUND")
        return Experiment.FromString(stored)

    def _listen_to_changes(self) -> None:
        """Has the alarm ring after the experiment's next change; call it before looking at it."""
        feed = self._from.metastore.feed
        if self._revision < 0 or feed.revision > self._revision:
            self._revision = feed.revision
            self._alarm.ring_after("change", self._changed(self._revision))

    async def _changed(self, revision: int) -> None:
        feed, uid = self._from.metastore.feed, self._target.uid
        while True:
            await feed.wait(revision)
            changes = feed.after(revision)
            if changes is None or any(change.uid == uid for change in changes):
                return
            revision = feed.revision

    def _heartbeat(self) -> bytes:
        self._due = self._now() + self._from.heartbeat
        return self._builder.bookmark(BookmarkType.BOOKMARK_TYPE_HEARTBEAT, self._cursor)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _rebased(cursor: Cursor, journal: int, reader: JournalReader) -> Cursor:
    """Where a cursor stands in an attempt's journal of that number.

    Raises:
        OutOfRange: the token does not tell.
    """
    if cursor.journal == journal:
        try:
            reader.at_end(cursor.position)
            return cursor
        except OutOfRange:  # lost in a crash; it is collected again
            pass
    if cursor.offsets == TOO_MANY:
        raise OutOfRange(
            "another server collects the output by now, and of so many streams a token does not "
            "tell how far each has come: follow again from the start",
            reason="RESUME_TOKEN_EXPIRED",
        )
    return Cursor(cursor.attempt, journal=journal, offsets=cursor.offsets)
