"""Looks whether a journal on the disk is whole: read-only, while a server may be writing it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from subgrpc.errors import DataLoss
from subgrpc.journal.segments import (
    StreamKey,
    StreamState,
    read_sealed,
    scan,
    segment_numbers,
    segment_path,
    split_position,
)


def journals_in(root: Path) -> Iterator[tuple[str, int, Path]]:
    """Yields the uid, the attempt and the folder of every journal below a folder."""
    if not root.is_dir():
        return
    for experiment in sorted(root.iterdir()):
        if experiment.name.startswith(".") or not experiment.is_dir():
            continue
        for folder in sorted(experiment.iterdir()):
            if folder.name.isdecimal():
                yield experiment.name, int(folder.name), folder


def is_sealed(folder: Path) -> bool:
    """Whether a journal is complete.

    Raises:
        DataLoss: the mark is damaged.
    """
    return read_sealed(folder) is not None


def damage(folder: Path) -> str:
    """What is damaged in a journal; empty: nothing. Every byte is read.

    A torn end of one that is not complete is none: whoever writes it next cuts it off.
    """
    try:
        end = read_sealed(folder)
    except DataLoss as error:
        return error.message
    numbers = segment_numbers(folder)
    if numbers != list(range(1, len(numbers) + 1)):
        return f"its segments are {numbers}"
    streams: dict[StreamKey, StreamState] = {}
    for number in numbers:
        index, torn = scan(segment_path(folder, number), streams)
        streams = index.streams
        if torn and (number != numbers[-1] or end is not None):
            return f"segment {number} is damaged behind byte {index.size}"
        if (
            end is not None
            and number == numbers[-1]
            and split_position(end)
            != (
                number,
                index.size,
            )
        ):
            return f"it ends at byte {index.size} of segment {number}, its mark says {end}"
    return ""
