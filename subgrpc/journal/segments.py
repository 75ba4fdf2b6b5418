"""Segments: the files of a journal, and the index that says what is in each.

A position in a journal is one number: the segment's number in the upper bits, the place in its
file in the lower 32. Position 0 is before everything. A segment is never written to again by a
later writer, so a position that was good once is either still good or known to be lost.
"""

from __future__ import annotations

import contextlib
import json
import os
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from subgrpc.errors import DataLoss
from subgrpc.journal.frames import DATA, GAP, MAX_FRAME, Run, carry_of, join, parse

MAGIC: Final = b"SUBGJ1\r\n"
"""What a segment starts with: its format's version."""
BLOCK_BITS: Final = 18
"""The index tells apart blocks of 2**18 bytes (256 KiB)."""
SEALED: Final = "sealed"
"""The file whose presence says that a journal is complete; it holds the end's position."""

_STREAMS: Final = (1, 2)
"""The numbers of stdout and stderr, as in `LogStream`."""
StreamKey = tuple[str, int]
"""A task's id and a stream's number."""


@dataclass(slots=True)
class StreamState:
    """How far a stream has come.

    Attributes:
        end: the offset wanted next, bytes.
        carry: what is incomplete at the end, as UTF-8.
        gapped: whether the last frame is a gap of unknown length.
    """

    end: int = 0
    carry: bytes = b""
    gapped: bool = False

    def take(self, kind: int, offset: int, data: bytes, gap_length: int = 0) -> None:
        """Notes a frame, or contiguous frames, of the stream."""
        if kind == DATA:
            self.carry = carry_of(data, self.carry)
            self.end = offset + len(data)
        else:
            self.carry = b""
            self.end = max(self.end, offset + gap_length)
        self.gapped = kind == GAP and not gap_length


@dataclass(slots=True)
class SegmentIndex:
    """What is in a segment.

    Attributes:
        size: bytes of whole frames, the magic included.
        frames: how many frames there are.
        blocks: by number of the block, where the first frame that starts in it starts; blocks in
            which none starts are missing.
        streams: how far every stream of the journal has come at the segment's end.
        places: the blocks in which frames of a stream start.
    """

    size: int = len(MAGIC)
    frames: int = 0
    blocks: dict[int, int] = field(default_factory=dict)
    streams: dict[StreamKey, StreamState] = field(default_factory=dict)
    places: dict[StreamKey, list[int]] = field(default_factory=dict)

    def note(self, key: StreamKey, start: int) -> None:
        """Notes a frame that starts at `start`; frames come in order."""
        block = start >> BLOCK_BITS
        if block not in self.blocks:
            self.blocks[block] = start
        places = self.places.get(key)
        if places is None:
            self.places[key] = [block]
        elif places[-1] != block:
            places.append(block)
        self.frames += 1

    def blocks_of(self, task: str, stream: int) -> list[int]:
        """Returns the blocks in which frames of a task (empty: any), a stream (0: any) start."""
        if not task and not stream:
            return sorted(self.blocks)
        return sorted({block for places in self._wanted(task, stream) for block in places})

    def next_of(self, offset: int, end: int, task: str, stream: int) -> int:
        """Returns where, from a frame's start on, the next wanted frame may be at the earliest.

        `end`, if there is none before it; every frame before `end` must have been noted.
        """
        here = offset >> BLOCK_BITS
        found: int | None = None
        for places in self._wanted(task, stream):
            at = bisect_left(places, here)
            if at < len(places) and (found is None or places[at] < found):
                found = places[at]
        return end if found is None else min(end, max(offset, self.blocks[found]))

    def _wanted(self, task: str, stream: int) -> list[list[int]]:
        # Lists are copied at one stroke: the writer may go on in another thread meanwhile.
        if task:
            keys = [(task, each) for each in _STREAMS if stream in (0, each)]
            return [self.places[key] for key in keys if key in self.places]
        items = list(self.places.items())
        return [places for (_, of), places in items if stream in (0, of)]

    def to_json(self) -> str:
        """Returns the index as it is kept beside its segment."""
        streams = [
            [task, stream, state.end, state.carry.hex(), state.gapped,
             self.places.get((task, stream), [])]
            for (task, stream), state in self.streams.items()
        ]  # fmt: skip
        blocks = list(self.blocks.items())
        return json.dumps([1, self.size, self.frames, blocks, streams], separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> SegmentIndex:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        version, size, frames, blocks, streams = json.loads(text)
        if version != 1:
            raise ValueError(f"version {version} of an index is not known")
        index = cls(size, frames, dict(map(tuple, blocks)))
        for task, stream, end, carry, gapped, places in streams:
            index.streams[task, stream] = StreamState(end, bytes.fromhex(carry), gapped)
            if places:
                index.places[task, stream] = places
        return index


def position_of(number: int, offset: int) -> int:
    """Returns the position of a place in a segment."""
    return (number << 32) | offset


def split_position(position: int) -> tuple[int, int]:
    """Returns the number of the segment and the place in it."""
    return position >> 32, position & 0xFFFFFFFF


def segment_path(folder: Path, number: int) -> Path:
    """Returns the file of a segment."""
    return folder / segment_name(number)


def segment_name(number: int) -> str:
    """Returns the name of a segment's file."""
    return f"{number:06d}.seg"


def index_path(folder: Path, number: int) -> Path:
    """Returns the file of a segment's index; it is there once the segment is whole and durable."""
    return folder / f"{number:06d}.idx"


def segment_numbers(folder: Path) -> list[int]:
    """Returns the numbers of a journal's segments, in order."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(int(name[:-4]) for name in names if name.endswith(".seg"))


def load_index(folder: Path, number: int) -> SegmentIndex | None:
    """Returns the index that stands beside a segment; None: there is none that can be used."""
    try:
        return SegmentIndex.from_json(index_path(folder, number).read_text())
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return None  # the segment itself is the truth: it is scanned


def scan(
    path: Path, streams: dict[StreamKey, StreamState] | None = None
) -> tuple[SegmentIndex, bool]:
    """Makes the index of a segment by reading it, in bounded memory.

    Args:
        path: the segment.
        streams: how far the streams have come before it; not changed. None: not known.

    Returns:
        The index, and whether the segment is torn: it goes on with something that is no whole
        frame, or that does not follow what is known of the streams.
    """
    known = (streams or {}).items()
    index = SegmentIndex(streams={key: replace(state) for key, state in known})
    with path.open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        if file.read(len(MAGIC)) != MAGIC:
            index.size = 0
            return index, True
        while index.size < total:
            buffer = os.pread(file.fileno(), (1 << BLOCK_BITS) + MAX_FRAME, index.size)
            parsed = parse(buffer, 0, 1 << BLOCK_BITS)
            hole = _note_runs(index, parsed.runs, streams is not None)
            if hole is not None:
                index.size += hole
                return index, True
            index.size += parsed.end
            if not parsed.end or parsed.damaged:
                return index, True
    return index, False


def whole_size(path: Path, offset: int) -> int:
    """Returns how many bytes of a segment are whole frames, those before `offset` being so."""
    try:
        with path.open("rb") as file:
            while True:
                buffer = os.pread(file.fileno(), (1 << BLOCK_BITS) + MAX_FRAME, offset)
                parsed = parse(buffer, 0, 1 << BLOCK_BITS)
                offset += parsed.end
                if not parsed.end or parsed.damaged:
                    return offset
    except FileNotFoundError:
        return offset


def _note_runs(index: SegmentIndex, runs: Iterable[Run], contiguous: bool) -> int | None:
    """Notes runs; returns where the first of them starts before which output is missing."""
    for run in runs:
        key = (run.task, run.stream)
        state = index.streams.setdefault(key, StreamState())
        if contiguous and run.offset > state.end:
            return run.starts[0]
        for start in run.starts:
            index.note(key, index.size + start)
        length = run.gap()[0] if run.kind == GAP else 0
        state.take(run.kind, run.offset, join(run), length)
    return None


def read_sealed(folder: Path) -> int | None:
    """Returns the end of a complete journal; None: it is not complete.

    Raises:
        DataLoss: the mark is damaged.
    """
    try:
        text = (folder / SEALED).read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        value: Any = json.loads(text)["end"]
        return int(value)
    except (ValueError, TypeError, KeyError) as error:
        raise DataLoss(f"{folder / SEALED} is damaged") from error


def write_durably(path: Path, text: str) -> None:
    """Writes a small file that is there whole or not at all, even after a loss of power.

    Raises:
        OSError: the disk refuses it; nothing is left behind.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes a folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
