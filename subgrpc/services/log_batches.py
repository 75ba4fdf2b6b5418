"""Reads frames for the followers of logs: once for all of them that are at the same place."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final, NamedTuple

from subgrpc.journal import JournalReader
from subgrpc.services.log_frames import Cursor, FrameBuilder
from subgrpc.services.log_target import Target

CACHE_SIZE: Final = 16 * 1024 * 1024
"""Bytes of frames that are kept for other followers."""

_Key = tuple[bytes, Cursor, int]


class Frames(NamedTuple):
    """Serialised frames, and where the stream stands behind them."""

    frames: tuple[bytes, ...]
    cursor: Cursor


class LogBatches:
    """Builds frames from journals, and keeps the last ones that it built.

    A frame depends on nothing but request and place, so followers share it: a hundred of one log
    cost little more than one. Memory is bounded by `CACHE_SIZE`, not by their number.
    """

    def __init__(self, size: int = CACHE_SIZE) -> None:
        self._room = size
        self._kept: OrderedDict[_Key, Frames] = OrderedDict()

    async def read(
        self, reader: JournalReader, target: Target, builder: FrameBuilder, cursor: Cursor
    ) -> Frames:
        """Returns the frames behind a cursor, up to about 128 KiB; none: see `Frames.cursor`.

        Raises:
            NotFound, OutOfRange, DataLoss: as `JournalReader.read`.
        """
        stop = reader.stop(cursor.position)
        key = (target.fingerprint, cursor, stop)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        try:
            found = _build(reader, target, builder, cursor, stop, wait=False)
        except BlockingIOError:
            # Only the disk is waited for in a thread: building there would fight for the GIL.
            await asyncio.to_thread(reader.fetch, cursor.position, stop)
            found = self._kept.get(key) or _build(reader, target, builder, cursor, stop, wait=True)
        self._keep(key, found)
        return found

    def _keep(self, key: _Key, found: Frames) -> None:
        if not found.frames or key in self._kept:
            return
        self._kept[key] = found
        self._room -= _size(found)
        while self._room < 0:
            self._room += _size(self._kept.popitem(last=False)[1])


def _size(found: Frames) -> int:
    # What Python and the key need besides the bytes, about.
    return 500 + sum(len(frame) + 50 for frame in found.frames)


def _build(
    reader: JournalReader,
    target: Target,
    builder: FrameBuilder,
    cursor: Cursor,
    stop: int,
    *,
    wait: bool,
) -> Frames:
    batch = reader.read(
        cursor.position,
        skip=cursor.skip,
        stop=stop,
        task=target.task,
        stream=target.stream,
        wait=wait,
    )
    frames = tuple(builder.frames(cursor.attempt, batch))
    if batch.next == cursor.position:
        return Frames(frames, cursor)
    return Frames(frames, Cursor(cursor.attempt, batch.next))
