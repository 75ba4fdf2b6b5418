"""The output of the fake backend's tasks, as a driver hands it out: chunks and gaps."""

from __future__ import annotations

from collections.abc import Sequence

from subgrpc.driver import LogChunk, LogGap

_CHUNK = 64 * 1024


def length_of(piece: LogChunk | LogGap) -> int:
    """How many bytes a piece of output stands for."""
    return len(piece.data) if isinstance(piece, LogChunk) else piece.length


def pieces_of(output: Sequence[bytes | int], offset: int) -> list[LogChunk | LogGap]:
    """The output from an offset on, as chunks and gaps."""
    pieces: list[LogChunk | LogGap] = []
    position = 0
    for item in tuple(output):
        length = item if isinstance(item, int) else len(item)
        skip = min(max(0, offset - position), length)
        position += length
        start = position - length + skip
        if isinstance(item, int):
            if length > skip:
                pieces.append(LogGap(offset=start, length=length - skip, message="lost"))
            continue
        rest = item[skip:]
        pieces += [
            LogChunk(offset=start + at, data=rest[at : at + _CHUNK])
            for at in range(0, len(rest), _CHUNK)
        ]
    return pieces
