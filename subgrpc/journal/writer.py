"""Writes a journal: every byte once, in order of arrival, never half a frame."""

from __future__ import annotations

import contextlib
import json
import os
import time as clock
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Final

from subgrpc import faults
from subgrpc.errors import FailedPrecondition, Unavailable
from subgrpc.journal.frames import DATA, FLUSH, GAP, MAX_DATA, encode, encode_gap
from subgrpc.journal.segments import (
    MAGIC,
    SEALED,
    SegmentIndex,
    StreamKey,
    StreamState,
    index_path,
    load_index,
    position_of,
    scan,
    segment_path,
    sync_folder,
    write_durably,
)
from subgrpc.journal.state import JournalState

SEGMENT_SIZE: Final = 64 * 1024 * 1024
"""A segment that has come to so many bytes is followed by another."""
SEGMENT_FRAMES: Final = 100_000
"""The same for frames: reading a segment anew, after a crash, must not take long."""


class JournalWriter:
    """The one writer of a journal. Not for several threads at once.

    After a crash a new writer drops what is torn, knows how far each stream had come, and begins
    a new segment. Bytes of segments behind a torn one are dropped too: they are asked for again.
    """

    def __init__(self, state: JournalState, finisher: Executor) -> None:
        """`finisher` makes full segments durable in the background."""
        self._state = state
        self._finisher = finisher
        self._unfinished: dict[int, SegmentIndex] = {}
        self._finishing: dict[int, Future[None]] = {}
        self._file = -1
        self._size = 0
        self._torn = False
        self._number = 0
        self._streams: dict[StreamKey, StreamState] = {}
        self._index = SegmentIndex()
        with _refused_by_disk("open"):
            self._recover()
        self._first = self._number + 1
        state.attended = True

    def offset(self, task: str, stream: int) -> int:
        """Returns the offset of a stream that is wanted next, in bytes."""
        known = self._streams.get((task, stream))
        return known.end if known else 0

    def append(self, task: str, stream: int, offset: int, data: bytes, time: int) -> None:
        """Adds output. What the journal already has of it is left out.

        Args:
            task: the task's id, "role-index".
            stream: the stream's number, as in `LogStream`.
            offset: where `data` starts in the task's stream, bytes.
            data: the output.
            time: when it arrived, µs since the epoch.

        Raises:
            ValueError: there would be a hole before it.
            FailedPrecondition: the journal is complete, or was deleted.
            Unavailable: the disk refuses it; nothing was written, or all before a whole number of
                64 KiB: ask `offset`, or simply append the same again.
        """
        known = self.offset(task, stream)
        if offset > known:
            raise ValueError(f"a hole in {task}/{stream}: {known} is wanted, {offset} came")
        data = data[known - offset :] if offset < known else data
        for at in range(0, len(data), MAX_DATA):
            piece = data if len(data) <= MAX_DATA else data[at : at + MAX_DATA]
            self._write(DATA, task, stream, known + at, time, piece)
        if data:
            self._state.bell.ring()

    def gap(
        self,
        task: str,
        stream: int,
        offset: int,
        length: int,
        message: str,
        time: int | None = None,
    ) -> None:
        """Adds a range that is lost. What the journal already has of it is left out.

        Args:
            task: as in `append`.
            stream: as in `append`.
            offset: where the gap starts, bytes.
            length: how long it is, bytes; 0: not known.
            message: why, for a person.
            time: when it was learnt, µs since the epoch; None: now.

        Raises:
            ValueError, FailedPrecondition, Unavailable: as `append`.
        """
        state = self._streams.get((task, stream), StreamState())
        if offset > state.end:
            raise ValueError(f"a hole in {task}/{stream}: {state.end} is wanted, {offset} came")
        if length == 0 and (state.gapped or offset < state.end):
            return
        if length and offset + length <= state.end:
            return
        rest = offset + length - state.end if length else 0
        time = _now() if time is None else time
        self._flush((task, stream), state, time)
        self._write(GAP, task, stream, state.end, time, encode_gap(rest, message), rest)
        self._state.bell.ring()

    def sync(self) -> None:
        """Makes everything that was appended durable. Blocks; any thread.

        Raises:
            Unavailable: the disk refuses it.
        """
        with _refused_by_disk("sync"):
            for number, index in list(self._unfinished.items()):
                future = self._finishing.pop(number, None)
                if future is None:
                    _finish(self._state, number, index)
                else:
                    future.result()
                del self._unfinished[number]
            if self._file >= 0:
                os.fdatasync(self._file)

    def seal(self) -> None:
        """Makes the journal durable and complete: no more output will come. Blocks; any thread.

        Raises:
            FailedPrecondition: it was deleted.
            Unavailable: the disk refuses it; try again.
        """
        if self._state.sealed:
            return
        self._check_open()
        for key, stream in list(self._streams.items()):
            self._flush(key, stream, _now())
        self.sync()
        state = self._state
        with _refused_by_disk("seal"):
            state.folder.mkdir(parents=True, exist_ok=True)
            if self._file >= 0:
                if self._torn:
                    self._cut()
                _finish(state, self._number, self._index)
                os.close(self._file)
                self._file = -1
            faults.point("journal.sealing")
            write_durably(state.folder / SEALED, json.dumps({"end": state.end}))
            sync_folder(state.folder.parent)
            sync_folder(state.folder.parent.parent)
        faults.point("journal.sealed")
        state.sealed = True
        state.bell.ring()

    def close(self) -> None:
        """Gives back what is open. The journal stays as it is; another writer may go on."""
        for future in self._finishing.values():
            # What could not be made durable has no index, and is read anew by the next writer.
            with contextlib.suppress(OSError):
                future.result()
        self._finishing.clear()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._state.attended = False
        self._state.bell.ring()

    def _recover(self) -> None:
        state = self._state
        state.refresh()
        numbers = list(state.numbers)
        self._number = numbers[-1] if numbers else 0
        torn = False
        for number in numbers:
            path = segment_path(state.folder, number)
            index = load_index(state.folder, number)
            if torn:
                _empty(path, 0)
                index = SegmentIndex(streams=self._streams)
            elif index is None or index.size != path.stat().st_size:
                index, torn = scan(path, self._streams)
                if torn and not state.sealed:
                    _empty(path, index.size)
                torn = torn and not state.sealed
            self._streams = index.streams
            state.keep_index(number, index)
            state.end = position_of(number, max(index.size, len(MAGIC)))

    def _flush(self, key: StreamKey, state: StreamState, time: int) -> None:
        if state.carry:
            self._write(FLUSH, key[0], key[1], state.end, time, b"")

    def _write(
        self,
        kind: int,
        task: str,
        stream: int,
        offset: int,
        time: int,
        data: bytes,
        length: int = 0,
    ) -> None:
        if self._state.sealed or self._state.deleted:
            self._check_open()
        if self._file < 0 or self._size >= SEGMENT_SIZE or self._index.frames >= SEGMENT_FRAMES:
            self._roll()
        key = (task, stream)
        state = self._streams.get(key)
        carry = state.carry if state else b""
        head, data = encode(kind, task.encode(), stream, offset, time, carry, data)
        size = len(head) + len(data)
        try:
            if self._torn:
                self._cut()
            faults.point("journal.appending")
            written = os.pwritev(self._file, (head, data), self._size)
            faults.point("journal.appended")
            if written != size:
                # The rest would not fit: this says why, or fits after all.
                written += os.pwrite(self._file, (head + data)[written:], self._size + written)
            if written != size:
                raise OSError(f"{written} of {size} bytes were written")
        except OSError as error:
            self._torn = True
            with contextlib.suppress(OSError):
                self._cut()
            raise _unavailable("append", error) from error
        if state is None:
            state = self._streams[key] = StreamState()
        state.take(kind, offset, data, length)
        self._index.note(key, self._size)
        self._size += size
        self._index.size = self._size
        self._state.end = position_of(self._number, self._size)
        self._state.written = (self._state.written[0], self._state.end)

    def _cut(self) -> None:
        os.ftruncate(self._file, self._size)
        self._torn = False

    def _check_open(self) -> None:
        if self._state.deleted:
            raise FailedPrecondition("the logs were deleted", reason="LOGS_DELETED")
        if self._state.sealed:
            raise FailedPrecondition("the journal is complete", reason="JOURNAL_SEALED")

    def _roll(self) -> None:
        state = self._state
        self._check_open()
        with _refused_by_disk("begin a segment"):
            if self._torn:
                self._cut()
            state.folder.mkdir(parents=True, exist_ok=True)
            number = self._number + 1
            file = os.open(
                segment_path(state.folder, number), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600
            )
            try:
                if os.pwrite(file, MAGIC, 0) != len(MAGIC):
                    raise OSError("the segment's first bytes were not written")
            except OSError:
                os.close(file)
                segment_path(state.folder, number).unlink()
                raise
        faults.point("journal.begun")
        if self._file >= 0:
            os.close(self._file)
            self._unfinished[self._number] = self._index
            self._finishing[self._number] = self._finisher.submit(
                _finish, state, self._number, self._index
            )
        streams = {key: replace(each) for key, each in self._streams.items()}
        self._file, self._number, self._size = file, number, len(MAGIC)
        self._streams, self._index = streams, SegmentIndex(streams=streams)
        state.numbers = [*state.numbers, number]
        state.keep_index(number, self._index)
        state.end = position_of(number, self._size)
        if number == self._first:
            state.written = (state.end, state.end)


def _finish(state: JournalState, number: int, index: SegmentIndex) -> None:
    """Makes a full segment durable, and puts its index beside it."""
    file = os.open(segment_path(state.folder, number), os.O_RDWR)
    try:
        os.fdatasync(file)
    finally:
        os.close(file)
    write_durably(index_path(state.folder, number), index.to_json())


def _empty(path: Path, size: int) -> None:
    """Cuts a segment; it stays a segment, so that its number is not given to another."""
    path.with_suffix(".idx").unlink(missing_ok=True)
    with path.open("r+b") as file:
        file.truncate(size)
        file.write(MAGIC)
        file.truncate(max(size, len(MAGIC)))


def _now() -> int:
    return clock.time_ns() // 1000


def _unavailable(what: str, error: OSError) -> Unavailable:
    return Unavailable(
        f"the log journal cannot {what}: {error.strerror or error}",
        reason="LOG_STORE_UNAVAILABLE",
        retry_after=1.0,
    )


@contextlib.contextmanager
def _refused_by_disk(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unavailable(what, error) from error
