"""What a complete journal consists of, so that it can be kept elsewhere and fetched back.

Its files are each segment and the segment's index, in order. Each is cut into pieces of a fixed
size, which are named by their digests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from subgrpc.errors import DataLoss
from subgrpc.journal.segments import (
    SegmentIndex,
    index_path,
    load_index,
    position_of,
    read_sealed,
    scan,
    segment_numbers,
    segment_path,
    write_durably,
)

PIECE: Final = 4 << 20
"""Bytes of a piece; the last one of a file has fewer."""
DIGEST_SIZE: Final = 32


class File(NamedTuple):
    """A file of a journal.

    Attributes:
        path: where it stands, or is to stand.
        size: in bytes.
        piece: bytes of each piece but the last one.
        digests: of its pieces, as far as they are known.
    """

    path: Path
    size: int
    piece: int
    digests: tuple[bytes, ...]


class Segment(NamedTuple):
    """A segment's number, its size, and that of its index, in bytes."""

    number: int
    size: int
    index_size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A complete journal.

    Attributes:
        segments: its segments, in order.
        digests: of the pieces of all files, in order; empty while they are not known.
        piece: bytes of a piece.
    """

    segments: tuple[Segment, ...]
    digests: tuple[bytes, ...] = ()
    piece: int = PIECE

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(each.size + each.index_size for each in self.segments)

    @property
    def end(self) -> int:
        """The position behind everything."""
        last = self.segments[-1] if self.segments else None
        return position_of(last.number, last.size) if last else 0

    def to_bytes(self) -> bytes:
        """All but the digests."""
        return json.dumps([1, self.piece, self.segments], separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes, digests: tuple[bytes, ...] = ()) -> Manifest:
        """Reads what `to_bytes` wrote; nothing: an empty journal."""
        if not data:
            return cls(())
        version, piece, segments = json.loads(data)
        if version != 1:
            raise DataLoss(f"version {version} of a log's manifest is not known")
        return cls(tuple(Segment(*each) for each in segments), digests, piece)

    def with_digests(self, digests: tuple[bytes, ...]) -> Manifest:
        """The same with digests."""
        return replace(self, digests=digests)

    def files(self, folder: Path) -> Iterator[File]:
        """Yields the files, as they stand in a folder."""
        start = 0
        for each in self.segments:
            paths = (segment_path(folder, each.number), index_path(folder, each.number))
            for path, size in zip(paths, each[1:], strict=True):
                stop = start - (-size // self.piece)
                yield File(path, size, self.piece, self.digests[start:stop])
                start = stop


def survey(folder: Path) -> Manifest:
    """What a complete journal consists of; an index that a crash prevented is made.

    Raises:
        DataLoss: it is not complete, or damaged.
        OSError: it cannot be read.
    """
    end = read_sealed(folder)
    if end is None:
        raise DataLoss(f"the journal in {folder} is not complete")
    found: list[Segment] = []
    before = SegmentIndex()
    for number in segment_numbers(folder):
        path = segment_path(folder, number)
        size = path.stat().st_size
        index = load_index(folder, number)
        if index is None or index.size != size:
            index, _ = scan(path, before.streams)
            write_durably(index_path(folder, number), index.to_json())
        if index.size != size:
            raise DataLoss(f"{path} is damaged behind byte {index.size}")
        found.append(Segment(number, size, index_path(folder, number).stat().st_size))
        before = index
    manifest = Manifest(tuple(found))
    if manifest.end != end:
        raise DataLoss(f"the journal in {folder} ends at {manifest.end}, its mark says {end}")
    return manifest
