"""Reads a journal: any number of readers, none of which holds anything open."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from subgrpc.errors import DataLoss
from subgrpc.journal.frames import DATA, GAP, MAX_FRAME, Run, join, parse
from subgrpc.journal.segments import (
    BLOCK_BITS,
    MAGIC,
    SegmentIndex,
    StreamKey,
    StreamState,
    position_of,
    scan,
    segment_name,
    segment_path,
    split_position,
)
from subgrpc.journal.state import JournalState

STRIDE: Final = 128 * 1024
"""Reads end at multiples of so many bytes: followers then meet at the same positions."""


class Batch(NamedTuple):
    """What `JournalReader.read` found.

    Attributes:
        runs: the runs, in order of arrival; their places count from `base`.
        base: the position at which the places of the runs start.
        next: where to read on.
    """

    runs: list[Run]
    base: int
    next: int


class Start(NamedTuple):
    """Where to begin: the position of a frame, and how many bytes of it to leave out."""

    position: int
    skip: int


class JournalReader:
    """Reads one journal, which may not be there yet.

    The methods block for as long as the disk does. Each may raise `Absent`, if what it needs was
    evicted or not yet fetched: to be called again once it is there.
    """

    def __init__(self, state: JournalState) -> None:
        self._state = state

    @property
    def end(self) -> int:
        """The position behind everything that is there now."""
        self._state.refresh()
        return self._state.end

    @property
    def sealed(self) -> bool:
        """Whether the journal is complete: nothing will come behind its end."""
        self._state.refresh()
        return self._state.sealed

    @property
    def shared(self) -> bool:
        """Whether several listen to the journal: what is read for one is read for others too."""
        return self._state.bell.listeners > 1

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """As `JournalStore.listen`."""
        token = self._state.bell.listen(callback)
        return lambda: self._state.bell.forget(token)

    def at_end(self, position: int) -> bool:
        """Whether nothing stands behind a position now.

        Raises:
            NotFound, OutOfRange: as `read`.
        """
        self._state.refresh()
        return self._state.at_end(position)

    def fetch(self, position: int, stop: int) -> None:
        """Brings into memory what a read from `position` to `stop` needs. For any thread.

        Raises:
            NotFound, OutOfRange: as `read`.
        """
        number, offset = self._state.place(position)
        size = stop - position_of(number, offset)
        if number and size > 0:
            self._pread(number, offset, min(size, STRIDE) + MAX_FRAME, wait=True)

    def stop(self, position: int) -> int:
        """Returns the position at which a read from `position` on will stop at the latest.

        A read of the same range always finds the same.

        Raises:
            NotFound, OutOfRange: as `read`.
        """
        self._state.refresh()
        here = position_of(*self._state.place(position))
        return min((here // STRIDE + 1) * STRIDE, self._state.end)

    def read(
        self,
        position: int,
        *,
        skip: int = 0,
        stop: int | None = None,
        task: str = "",
        stream: int = 0,
        wait: bool = True,
    ) -> Batch:
        """Reads the frames behind a position, up to about `STRIDE` bytes.

        Args:
            position: 0, or what an earlier read returned.
            skip: bytes of the first frame to leave out.
            stop: what `stop` returned; None: as it is now.
            task: only this task's output; empty: all.
            stream: only this stream; 0: both.
            wait: whether to wait for the disk, if it is not in memory.

        Returns:
            No runs and the same `next`, if there is nothing now; no runs and another `next`, if
            nothing of what was read is wanted.

        Raises:
            NotFound: the journal was deleted.
            OutOfRange: the position was lost in a crash; reason RESUME_TOKEN_EXPIRED.
            DataLoss: what is on the disk is damaged.
            BlockingIOError: not `wait`, and the disk would have to be waited for: `fetch` first.
        """
        state = self._state
        limit = self.stop(position) if stop is None else stop
        state.refresh()
        number, offset = state.place(position)
        here = position_of(number, offset)
        if here >= state.end:
            return Batch([], here, here if number else position)
        if here >= limit:  # what follows the limit has come meanwhile
            limit = self.stop(here)
        size = state.size(number)
        last = min(limit - position_of(number, 0), size)
        if (task or stream) and not skip:
            offset = self._skip_blocks(number, offset, size, task, stream)
        if offset >= last:
            return Batch([], here, position_of(number, offset))
        return self._parse(number, offset, last, task, stream, skip=skip, wait=wait)

    def tail(self, lines: int, *, task: str = "", stream: int = 0) -> Start:
        """Returns where about the last `lines` lines start, counted over everything wanted.

        A line ends with a newline or, without one, with its stream. What stands between the
        frames of interleaved streams comes along. Memory is bounded whatever the lines are like.

        Raises:
            NotFound, DataLoss: as `read`.
        """
        self._state.refresh()
        end = self._state.end
        if lines <= 0:
            return Start(end, 0)
        ended: set[tuple[str, int]] = set()
        left = lines + 1
        for runs, base in self._backwards(end, task, stream):
            for run in reversed(runs):
                if run.kind != DATA:
                    continue
                data = join(run)
                key = (run.task, run.stream)
                if key not in ended:
                    ended.add(key)
                    left -= not data.endswith(b"\n")
                    if not left:
                        return Start(base + run.end, 0)
                count = data.count(b"\n")
                if count < left:
                    left -= count
                    continue
                return _behind(run, base, _nth_last_newline(data, left) + 1)
        return Start(0, 0)

    def streams(self, start: Start) -> dict[StreamKey, StreamState]:
        """Returns how far each stream had come there: what `read` finds from there on is missing.

        Raises:
            NotFound, OutOfRange, DataLoss: as `read`.
        """
        self._state.refresh()
        number, offset = self._state.place(start.position)
        earlier = [each for each in self._state.numbers if each < number]
        known = self._index_of(earlier[-1]).streams if earlier else {}
        found = {key: replace(state) for key, state in known.items()}
        at = len(MAGIC)
        while number and at < offset:
            batch = self._parse(number, at, min(offset, at + (1 << BLOCK_BITS)), "", 0)
            for run in batch.runs:
                length = run.gap()[0] if run.kind == GAP else 0
                state = found.setdefault((run.task, run.stream), StreamState())
                state.take(run.kind, run.offset, join(run), length)
            at = split_position(batch.next)[1]
        if start.skip:
            run = self._parse(number, offset, offset + 1, "", 0, skip=start.skip).runs[0]
            found[run.task, run.stream] = StreamState(run.offset)
        return found

    def _parse(
        self,
        number: int,
        offset: int,
        last: int,
        task: str,
        stream: int,
        *,
        skip: int = 0,
        wait: bool = True,
    ) -> Batch:
        state = self._state
        # A frame that starts before the stop is read to its end.
        size = min(last - offset + MAX_FRAME, state.size(number) - offset)
        buffer = self._pread(number, offset, size, wait)
        base = position_of(number, offset)
        first, behind = state.written
        check = not first <= base < base + last - offset <= behind
        parsed = parse(buffer, 0, last - offset, task=task, stream=stream, skip=skip, check=check)
        if parsed.damaged or not parsed.end:
            path = segment_path(state.folder, number)
            raise DataLoss(f"{path} is damaged at byte {offset + parsed.end}")
        return Batch(parsed.runs, base, base + parsed.end)

    def _pread(self, number: int, offset: int, size: int, wait: bool) -> bytes:
        state = self._state
        try:
            # Without a Path in between, which takes longer than the call itself.
            file = os.open(f"{state.folder}/{segment_name(number)}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise state.gone(number) from error
        state.read_from(number)
        try:
            if not wait and not _is_in_memory(file, size, offset):
                raise BlockingIOError(errno.EAGAIN, "the disk would have to be waited for")
            return os.pread(file, size, offset)
        finally:
            os.close(file)

    def _skip_blocks(self, number: int, offset: int, size: int, task: str, stream: int) -> int:
        index = self._state.index(number)
        return offset if index is None else index.next_of(offset, size, task, stream)

    def _backwards(
        self, end: int, task: str, stream: int
    ) -> Iterator[tuple[list[Run], int]]:  # fmt: skip
        """Yields the wanted runs of each block with the base of their places; last block first."""
        last, last_size = split_position(end)
        for number in reversed(list(self._state.numbers)):
            if number > last:
                continue
            index = self._index_of(number)
            size = last_size if number == last else index.size
            for block in reversed(index.blocks_of(task, stream)):
                start = index.blocks[block]
                if start >= size:
                    continue
                stop = min((block + 1) << BLOCK_BITS, size)
                batch = self._parse(number, start, stop, task, stream)
                yield batch.runs, batch.base

    def _index_of(self, number: int) -> SegmentIndex:
        index = self._state.index(number)
        return scan(segment_path(self._state.folder, number))[0] if index is None else index


def _is_in_memory(file: int, size: int, offset: int) -> bool:
    """Whether a read would hardly wait: both of its ends are in the page cache."""
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    byte = bytearray(1)
    try:
        for place in (offset, offset + size - 1):
            os.preadv(file, [byte], place, os.RWF_NOWAIT)
    except OSError as error:
        # EOPNOTSUPP: the file system cannot tell.
        if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
            return False
        raise
    return True


def _nth_last_newline(data: bytes, count: int) -> int:
    at = len(data)
    for _ in range(count):
        at = data.rindex(b"\n", 0, at)
    return at


def _behind(run: Run, base: int, count: int) -> Start:
    """Returns the place behind `count` bytes of a run's data."""
    if len(run.carry) + count >= run.size:
        return Start(base + run.end, 0)
    start, skip = run.locate(len(run.carry) + count)
    return Start(base + start, skip)
