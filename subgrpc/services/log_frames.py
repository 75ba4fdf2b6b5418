"""Builds the frames of StreamLogs, serialised: output is copied into them once and never parsed."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from subgrpc.journal import DATA, FLUSH, GAP, Batch, Run
from subgrpc.journal.frames import MAX_DATA, decode, join
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
    """

    attempt: int = 0
    position: int = 0
    skip: int = 0


class FrameBuilder:
    """Makes the frames of one request. A frame and its token depend on nothing but the journal."""

    def __init__(self, sealer: Sealer, text: bool) -> None:
        """Takes what makes the request's tokens, and whether its format is TEXT."""
        self._sealer = sealer
        self._text = text

    def token(self, cursor: Cursor) -> str:
        """Returns the resume token of a frame behind which the stream stands at `cursor`."""
        return self._sealer.seal(_TOKEN.pack(*cursor))

    def open(self, token: str) -> Cursor:
        """Returns the cursor of a resume token.

        Raises:
            InvalidArgument: it is none of this request; reason RESUME_TOKEN_INVALID.
        """
        raw = self._sealer.open(token, reason="RESUME_TOKEN_INVALID", field="resume_token")
        return Cursor(*_TOKEN.unpack(raw))

    def bookmark(self, kind: BookmarkType.ValueType, cursor: Cursor) -> bytes:
        """Returns a frame that holds no output."""
        return self._frame(_BOOKMARK, Bookmark(type=kind).SerializeToString(), cursor)

    def end(self, state: ExperimentState.ValueType, cursor: Cursor) -> bytes:
        """Returns the last frame of a log that is complete."""
        return self._frame(_END, LogEnd(state=state).SerializeToString(), cursor)

    def frames(self, attempt: int, batch: Batch) -> list[bytes]:
        """Returns the frames of what was read from the journal of an attempt."""
        found: list[bytes] = []
        for run in batch.runs:
            if run.kind == GAP:
                found.append(self._gap(attempt, batch.base, run))
            elif self._text:
                found.extend(self._texts(attempt, batch.base, run))
            elif run.kind == DATA:
                cursor = Cursor(attempt, batch.base + run.end)
                size = run.size - len(run.carry)
                found.append(self._chunk(run, run.offset, _DATA, run.parts, size, cursor))
        return found

    def _texts(self, attempt: int, base: int, run: Run) -> Iterator[bytes]:
        behind = Cursor(attempt, base + run.end)
        offset = run.offset - len(run.carry)
        if run.kind == FLUSH:  # the carry stays incomplete for ever
            text = run.carry.decode("utf-8", "replace").encode()
            yield self._chunk(run, offset, _TEXT, (text,), len(text), behind)
            return
        for text, start, end in _pieces(run.carry + join(run) if run.carry else join(run)):
            cursor = behind
            if end is not None:
                place, skip = run.locate(end)
                cursor = Cursor(attempt, base + place, skip)
            if text:
                yield self._chunk(run, offset + start, _TEXT, (text,), len(text), cursor)

    def _chunk(
        self,
        run: Run,
        offset: int,
        field: int,
        content: Sequence[bytes | memoryview],
        length: int,
        cursor: Cursor,
    ) -> bytes:
        """Puts a frame together with one copy of `content`, which has `length` bytes."""
        source = _source(cursor.attempt, run.task, run.stream)
        place = number(_OFFSET, offset) if offset else b""
        before = _before(field, length)
        time = length_delimited(_TIME, _timestamp(run.time))
        size = varint(len(source) + len(place) + len(before) + length + len(time))
        return b"".join((self._head(_CHUNK, cursor), size, source, place, before, *content, time))

    def _gap(self, attempt: int, base: int, run: Run) -> bytes:
        length, message = run.gap()
        gap = LogGap(
            attempt=attempt,
            task=run.task,
            stream=run.stream,  # type: ignore[arg-type]  # the journal keeps the enum's number
            offset=run.offset,
            length=length,
            message=message,
        )
        return self._frame(_GAP, gap.SerializeToString(), Cursor(attempt, base + run.end))

    def _frame(self, field: int, content: bytes, cursor: Cursor) -> bytes:
        return self._head(field, cursor) + varint(len(content)) + content

    def _head(self, field: int, cursor: Cursor) -> bytes:
        """The resume token, and the tag of the message that follows with its length."""
        token = self._sealer.seal(_TOKEN.pack(*cursor)).encode()
        return b"%b%c" % (length_delimited(_RESUME_TOKEN, token), field << 3 | 2)


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


def _pieces(raw: bytes) -> Iterator[tuple[bytes, int, int | None]]:
    """Yields texts, where each starts in `raw`, and where it ends; None: with all of `raw`.

    A code point that is incomplete at the end of `raw` is left out: the next frame carries it.
    """
    text, _ = decode(raw)
    if len(text) <= MAX_TEXT:
        yield text, 0, None
        return
    start = 0
    while len(raw) - start > _MAX_RAW:
        text, count = decode(raw[start : start + _MAX_RAW])
        yield text, start, start + count
        start += count
    yield decode(raw[start:])[0], start, None
