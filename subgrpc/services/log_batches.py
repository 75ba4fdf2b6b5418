"""Reads frames for the followers of logs: once for all of them that are at the same place."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final, NamedTuple

from subgrpc.journal import STRIDE, JournalReader
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
    cost little more than one. Memory is bounded by `CACHE_SIZE`, not by their number. Where one
    follows alone nothing is kept: his frames are then built in memory that the processor's caches
    still hold.
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
        try:
            return self._take(reader, target, builder, cursor, stop, wait=False)
        except BlockingIOError:
            # Only the disk is waited for in a thread: building there would fight for the GIL.
            await asyncio.to_thread(reader.fetch, cursor.position, stop)
            return self._take(reader, target, builder, cursor, stop, wait=True)

    def ahead(
        self, reader: JournalReader, target: Target, builder: FrameBuilder, cursor: Cursor
    ) -> Frames | None:
        """Returns what `read` will, for one who follows alone; None: it is not worth its while.

        To be called while the frames before are on their way. Only whole strides are read so:
        what is still being written becomes more by the time that it is wanted.

        Raises:
            NotFound, OutOfRange, DataLoss: as `JournalReader.read`.
        """
        if reader.shared:
            return None
        stop = reader.stop(cursor.position)
        if stop % STRIDE:
            return None
        try:
            return _build(reader, target, builder, cursor, stop, wait=False)
        except BlockingIOError:
            return None

    def _take(
        self,
        reader: JournalReader,
        target: Target,
        builder: FrameBuilder,
        cursor: Cursor,
        stop: int,
        *,
        wait: bool,
    ) -> Frames:
        if not reader.shared:
            return _build(reader, target, builder, cursor, stop, wait=wait)
        key = (target.fingerprint, cursor, stop)
        found = self._kept.get(key)
        if found is None:
            found = _build(reader, target, builder, cursor, stop, wait=wait)
            self._keep(key, found)
        else:
            self._kept.move_to_end(key)
        return found

    def _keep(self, key: _Key, found: Frames) -> None:
        if not found.frames:
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
    frames, behind = builder.frames(cursor, batch)
    return Frames(tuple(frames), behind)
