"""The use case StreamLogs: the output of an experiment, followed, resumed, from its tail."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from subgrpc.errors import NotFound, SubgrpcError
from subgrpc.journal import JournalReader, JournalStore
from subgrpc.metastore import Metastore
from subgrpc.services.alarm import Alarm
from subgrpc.services.log_batches import Frames, LogBatches
from subgrpc.services.log_frames import Cursor, FrameBuilder
from subgrpc.services.log_target import Target, find_target
from subgrpc.tokens import TokenCodec
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


class Logs:
    """Streams logs from the journals of this server."""

    def __init__(
        self,
        metastore: Metastore,
        journals: JournalStore,
        tokens: TokenCodec,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self.metastore = metastore
        self.journals = journals
        self.heartbeat = heartbeat
        self.batches = LogBatches()
        self._tokens = tokens

    async def stream(
        self, request: StreamLogsRequest, draining: asyncio.Event
    ) -> AsyncGenerator[bytes, None]:
        """Yields serialised StreamLogsResponse messages.

        At most one batch, about 128 KiB, is read ahead of whoever takes them: a slow one costs
        no more memory than that. Close the generator (`contextlib.aclosing`) when it is not taken
        to its end.

        Args:
            request: already validated against the rules of its fields.
            draining: set when the server is about to stop: the stream then ends with a bookmark.

        Raises:
            InvalidArgument: the name, or (reason RESUME_TOKEN_INVALID) the token, is wrong.
            NotFound: there is no such experiment, attempt or task, or it was deleted meanwhile.
            OutOfRange: what the token stands for was lost in a crash.
            DataLoss: the journal is damaged.
        """
        target = await find_target(request, self.metastore)
        builder = FrameBuilder(self._tokens.sealer("logs", target.fingerprint), target.text)
        start = await self._start(request, target, builder)
        follower = _Follower(self, target, builder, start, request.follow, draining)
        try:
            async with aclosing(follower.frames()) as frames:
                async for frame in frames:
                    yield frame
        finally:
            follower.close()

    async def _start(
        self, request: StreamLogsRequest, target: Target, builder: FrameBuilder
    ) -> Cursor:
        if request.resume_token:
            return builder.open(request.resume_token)
        attempt = target.attempt or target.latest
        if not request.HasField("tail_lines") or not attempt:
            return Cursor()
        reader = self.journals.reader(target.uid, attempt)
        start = await asyncio.to_thread(
            reader.tail, request.tail_lines, task=target.task, stream=target.stream
        )
        return Cursor(attempt, *start)


class _Follower:
    """One stream: a cursor that moves through the journals of an experiment's attempts."""

    def __init__(
        self,
        logs: Logs,
        target: Target,
        builder: FrameBuilder,
        cursor: Cursor,
        follow: bool,
        draining: asyncio.Event,
    ) -> None:
        self._logs = logs
        self._target = target
        self._builder = builder
        self._cursor = cursor
        self._follow = follow
        self._draining = draining
        self._alarm = Alarm(draining)
        self._complete = True
        self._due = self._now() + logs.heartbeat
        self._revision = -1
        self._ahead: Frames | None = None

    def close(self) -> None:
        self._alarm.close()

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Yields the frames of all attempts asked for, and what is to be said after them."""
        while not self._draining.is_set():
            if self._cursor.attempt:
                async with aclosing(self._attempt()) as frames:
                    async for frame in frames:
                        self._due = self._now() + self._logs.heartbeat
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

    async def _attempt(self) -> AsyncGenerator[bytes, None]:
        """Yields the frames of one attempt: to its end, or (no follow) to what is there now."""
        uid, attempt = self._target.uid, self._cursor.attempt
        reader = self._logs.journals.reader(uid, attempt)
        self._ahead = None
        soon = asyncio.get_running_loop().call_soon
        forget = self._logs.journals.listen(uid, attempt, self._alarm.ring)
        until = None if self._follow else reader.end
        try:
            while not self._draining.is_set():
                self._alarm.clear()
                end = reader.end
                found = self._ahead or await self._logs.batches.read(
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
                elif not await self._alarm.wait(self._due):
                    yield self._heartbeat()
        finally:
            forget()

    def _read_ahead(self, reader: JournalReader, cursor: Cursor) -> None:
        """Builds the next frames while the ones before are on their way, which takes as long."""
        if self._cursor == cursor and self._ahead is None:
            # What is wrong there is said when the follower comes there.
            with contextlib.suppress(SubgrpcError):
                self._ahead = self._logs.batches.ahead(reader, self._target, self._builder, cursor)

    async def _at_its_end(self, reader: JournalReader) -> bool:
        """Whether no more output of the attempt will come than has been sent."""
        if reader.sealed:
            return reader.at_end(self._cursor.position)
        if reader.end:
            return False
        # Nothing was written yet: perhaps nothing ever will be, or it is gone with its experiment.
        self._listen_to_changes()
        await self._experiment()
        row = await self._logs.metastore.attempt(self._target.uid, self._cursor.attempt)
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
        stored = await self._logs.metastore.get_experiment_by_uid(self._target.uid)
        if stored is None:
            text = f"{self._target.name} was deleted"
            raise NotFound(text, reason="EXPERIMENT_NOT_FOUND")
        return Experiment.FromString(stored)

    def _listen_to_changes(self) -> None:
        """Has the alarm ring after the experiment's next change; call it before looking at it."""
        feed = self._logs.metastore.feed
        if self._revision < 0 or feed.revision > self._revision:
            self._revision = feed.revision
            self._alarm.ring_after("change", self._changed(self._revision))

    async def _changed(self, revision: int) -> None:
        feed, uid = self._logs.metastore.feed, self._target.uid
        while True:
            await feed.wait(revision)
            changes = feed.after(revision)
            if changes is None or any(change.uid == uid for change in changes):
                return
            revision = feed.revision

    def _heartbeat(self) -> bytes:
        self._due = self._now() + self._logs.heartbeat
        return self._builder.bookmark(BookmarkType.BOOKMARK_TYPE_HEARTBEAT, self._cursor)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
