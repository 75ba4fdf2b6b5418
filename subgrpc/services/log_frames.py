"""Builds the frames of StreamLogs, serialised: output is copied into them once and never parsed."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from subgrpc.journal import DATA, FLUSH, GAP, Batch, Run
from subgrpc.journal.frames import MAX_DATA, decode, join
from subgrpc.journal.segments import StreamKey, StreamState
from subgrpc.services.log_reached import Reached
from subgrpc.services.wire import length_delimited, number, varint
from subgrpc.tokens import Sealer
from subgrpc.v1.experiment_service_pb2 import (
    Bookmark,
    BookmarkType,
    ExperimentState,
    LogEnd,
    LogGap,
)

MAX_TEXT: Final = MAX_DATA
"""Greatest number of bytes of a chunk's text."""
_MAX_RAW: Final = MAX_TEXT // 3
"""So many bytes never become more text than `MAX_TEXT`: one that is not UTF-8 becomes three."""
_TOKEN: Final = struct.Struct(">IQI")
_SHARED_TOKEN: Final = struct.Struct(">IQII")
"""The same with the journal's number; what each stream has come to stands behind it."""

# Field numbers of StreamLogsResponse, LogChunk and Timestamp.
_RESUME_TOKEN, _CHUNK, _GAP, _BOOKMARK, _END = 1, 2, 3, 4, 5
_ATTEMPT, _TASK, _STREAM, _OFFSET, _DATA, _TEXT, _TIME = 1, 2, 3, 4, 5, 6, 7
_SECONDS, _NANOS = 1, 2


class Cursor(NamedTuple):
    """Where a stream of logs stands.

    Attributes:
        attempt: the attempt; 0: before the first.
        position: the position in its journal.
        skip: bytes of the frame there that have been sent.
        journal: which of the attempt's journals that is; 0 where only one server can keep it.
        offsets: where several can, how far each stream has come: see `Reached`.
    """

    attempt: int = 0
    position: int = 0
    skip: int = 0
    journal: int = 0
    offsets: bytes = b""


class FrameBuilder:
    """Makes the frames of one request. A frame and its token depend on nothing but the journal."""

    def __init__(self, sealer: Sealer, text: bool, roles: Sequence[str] | None = None) -> None:
        """Makes one.

        Args:
            sealer: makes the request's tokens.
            text: whether its format is TEXT.
            roles: of the experiment's task groups, where another server may come to keep its
                output: tokens then tell how far each stream has come.
        """
        self._sealer = sealer
        self._text = text
        self._roles = roles

    def token(self, cursor: Cursor) -> str:
        """Returns the resume token of a frame behind which the stream stands at `cursor`."""
        return self._sealer.seal(self._packed(cursor))

    def open(self, token: str) -> Cursor:
        """Returns the cursor of a resume token.

        Raises:
            InvalidArgument: it is none of this request; reason RESUME_TOKEN_INVALID.
        """
        raw = self._sealer.open(token, reason="RESUME_TOKEN_INVALID", field="resume_token")
        if self._roles is None:
            return Cursor(*_TOKEN.unpack(raw))
        attempt, position, skip, journal = _SHARED_TOKEN.unpack_from(raw)
        return Cursor(attempt, position, skip, journal, raw[_SHARED_TOKEN.size :])

    def starting(self, cursor: Cursor, streams: Mapping[StreamKey, StreamState]) -> Cursor:
        """Returns a cursor that knows how far the streams have come there."""
        if self._roles is None:
            return cursor
        reached = Reached(self._roles, cursor.offsets, text=self._text)
        return cursor._replace(offsets=reached.start(streams))

    def bookmark(self, kind: BookmarkType.ValueType, cursor: Cursor) -> bytes:
        """Returns a frame that holds no output."""
        return self._frame(_BOOKMARK, Bookmark(type=kind).SerializeToString(), self._packed(cursor))

    def end(self, state: ExperimentState.ValueType, cursor: Cursor) -> bytes:
        """Returns the last frame of a log that is complete."""
        return self._frame(_END, LogEnd(state=state).SerializeToString(), self._packed(cursor))

    def expired(self, cursor: Cursor, task: str, stream: int) -> bytes:
        """Returns a frame that says that the rest of an attempt is gone, behind which it stands."""
        gap = LogGap(
            attempt=cursor.attempt,
            task=task,
            stream=stream,  # type: ignore[arg-type]  # the request's own number
            message="it ended so long ago that its output was removed (--log-retention)",
            reason="LOGS_EXPIRED",
        )
        return self._frame(_GAP, gap.SerializeToString(), self._packed(cursor))

    def frames(self, cursor: Cursor, batch: Batch) -> tuple[list[bytes], Cursor]:
        """Returns the frames of what was read from a journal, and where the stream then stands."""
        found: list[bytes] = []
        reached = None
        if self._roles is not None:
            reached = Reached(self._roles, cursor.offsets, text=self._text)
        at = _Places(cursor, batch.base, reached)
        for each in batch.runs:
            run = each if reached is None else reached.rest(each)
            if run is None:
                continue
            if run.kind == GAP:
                found.append(self._gap(run, at))
            elif self._text:
                found.extend(self._texts(run, at))
            elif run.kind == DATA:
                size = run.size - len(run.carry)
                if reached is None:  # what most frames are, so without a call
                    behind = _TOKEN.pack(at.attempt, batch.base + run.end, 0)
                else:
                    behind = at(run, run.end, 0, run.offset + size)
                found.append(self._chunk(at, run, run.offset, _DATA, run.parts, size, behind))
        if batch.next == cursor.position:
            return found, cursor
        if reached is None:
            return found, Cursor(cursor.attempt, batch.next)
        return found, Cursor(cursor.attempt, batch.next, 0, cursor.journal, reached.encode())

    def _texts(self, run: Run, at: _Places) -> Iterator[bytes]:
        offset = run.offset - len(run.carry)
        if run.kind == FLUSH:  # the carry stays incomplete for ever
            text = run.carry.decode("utf-8", "replace").encode()
            behind = at(run, run.end, 0, run.offset)
            yield self._chunk(at, run, offset, _TEXT, (text,), len(text), behind)
            return
        for text, start, end, last in _pieces(run.carry + join(run) if run.carry else join(run)):
            place, skip = (run.end, 0) if last else run.locate(end)
            behind = at(run, place, skip, offset + end)
            if text:
                yield self._chunk(at, run, offset + start, _TEXT, (text,), len(text), behind)

    def _chunk(
        self,
        at: _Places,
        run: Run,
        offset: int,
        field: int,
        content: Sequence[bytes | memoryview],
        length: int,
        behind: bytes,
    ) -> bytes:
        """Puts a frame together with one copy of `content`, which has `length` bytes."""
        source = _source(at.attempt, run.task, run.stream)
        place = number(_OFFSET, offset) if offset else b""
        before = _before(field, length)
        time = length_delimited(_TIME, _timestamp(run.time))
        size = varint(len(source) + len(place) + len(before) + length + len(time))
        return b"".join((self._head(_CHUNK, behind), size, source, place, before, *content, time))

    def _gap(self, run: Run, at: _Places) -> bytes:
        length, message = run.gap()
        behind = at(run, run.end, 0, run.offset + length)
        gap = LogGap(
            attempt=at.attempt,
            task=run.task,
            stream=run.stream,  # type: ignore[arg-type]  # the journal keeps the enum's number
            offset=run.offset,
            length=length,
            message=message,
        )
        return self._frame(_GAP, gap.SerializeToString(), behind)

    def _frame(self, field: int, content: bytes, place: bytes) -> bytes:
        return self._head(field, place) + varint(len(content)) + content

    def _head(self, field: int, place: bytes) -> bytes:
        """The resume token of a packed cursor, and the tag of the message that follows."""
        token = self._sealer.seal(place).encode()
        return b"%b%c" % (length_delimited(_RESUME_TOKEN, token), field << 3 | 2)

    def _packed(self, cursor: Cursor) -> bytes:
        if self._roles is None:
            return _TOKEN.pack(*cursor[:3])
        return _SHARED_TOKEN.pack(*cursor[:4]) + cursor.offsets


class _Places:
    """Packs the cursors behind the frames of a batch: one for every frame, so without ado."""

    __slots__ = ("_base", "_journal", "_reached", "attempt")

    def __init__(self, cursor: Cursor, base: int, reached: Reached | None) -> None:
        self.attempt = cursor.attempt
        self._base = base
        self._journal = cursor.journal
        self._reached = reached

    def __call__(self, run: Run, place: int, skip: int, end: int) -> bytes:
        """The one at a place of the batch, where a run was sent up to the offset `end`."""
        if self._reached is None:
            return _TOKEN.pack(self.attempt, self._base + place, skip)
        offsets = self._reached.note(run, end)
        return _SHARED_TOKEN.pack(self.attempt, self._base + place, skip, self._journal) + offsets


@lru_cache(maxsize=1024)
def _source(attempt: int, task: str, stream: int) -> bytes:
    """Where a chunk's output comes from: its first fields."""
    name = length_delimited(_TASK, task.encode())
    return number(_ATTEMPT, attempt) + name + number(_STREAM, stream)


@lru_cache(maxsize=1024)
def _before(field: int, length: int) -> bytes:
    """What stands before output of so many bytes."""
    return bytes((field << 3 | 2,)) + varint(length)


def _timestamp(micros: int) -> bytes:
    """A serialised google.protobuf.Timestamp."""
    seconds, rest = divmod(micros, 1_000_000)
    nanos = number(_NANOS, rest * 1000) if rest else b""
    return (number(_SECONDS, seconds) if seconds else b"") + nanos


def _pieces(raw: bytes) -> Iterator[tuple[bytes, int, int, bool]]:
    """Yields texts, where each starts and ends in `raw`, and whether it is the last.

    A code point that is incomplete at the end of `raw` is left out: the next frame carries it.
    """
    text, count = decode(raw)
    if len(text) <= MAX_TEXT:
        yield text, 0, count, True
        return
    start = 0
    while len(raw) - start > _MAX_RAW:
        text, count = decode(raw[start : start + _MAX_RAW])
        yield text, start, start + count, False
        start += count
    text, count = decode(raw[start:])
    yield text, start, start + count, True
