"""Cutting large files by content, and hashing them, with little memory.

A cut stands where the content says so (FastCDC), not at a fixed place: what is inserted into a
file changes the chunk that it falls into, and the others stay what they were.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from typing import NamedTuple

from subgrpc.client.transfer import refusals
from subgrpc.client.transfer.scan import LocalFile

WHOLE = 16 << 20
"""Files up to this size, in bytes, are one blob."""
LEAST, AVERAGE, MOST = 1 << 20, 4 << 20, 16 << 20
"""Sizes of chunks in bytes. With others, files that are stored would be sent again."""
_BUFFER = MOST
"""No chunk is larger, so that each pass finds at least one cut."""


class Piece(NamedTuple):
    """A part of a file that becomes a blob.

    Attributes:
        offset: where it begins in the file.
        size: in bytes.
        digest: its SHA-256, in hexadecimal digits.
        data: its bytes, where they are few enough to be kept; else they are read again.
    """

    offset: int
    size: int
    digest: str
    data: bytes | None = None


class Cut(NamedTuple):
    """A file that was read.

    Attributes:
        file: the file.
        sha256: of the whole, in hexadecimal digits.
        pieces: one after the other; none: the file is empty.
    """

    file: LocalFile
    sha256: str
    pieces: tuple[Piece, ...]


def cut_small(file: LocalFile, keep: int) -> Cut:
    """Reads a file of at most `WHOLE` bytes; up to `keep` bytes are kept in memory.

    Raises:
        FailedPrecondition: FILE_CHANGED: it is not as it was found.
        OSError: it cannot be read.
    """
    descriptor = os.open(file.source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        # One byte more than expected shows whether it has grown.
        data = os.read(descriptor, file.size + 1)
        while data and len(data) < file.size and (more := os.read(descriptor, file.size)):
            data += more
        if len(data) != file.size or not file.is_unchanged(os.fstat(descriptor)):
            raise refusals.changed(file.source)
    finally:
        os.close(descriptor)
    digest = hashlib.sha256(data).hexdigest()
    if not data:
        return Cut(file, digest, ())
    kept = data if len(data) <= keep else None
    return Cut(file, digest, (Piece(0, len(data), digest, kept),))


def cut_large(file: LocalFile, helpers: Executor) -> Iterator[Piece | Cut]:
    """Yields the pieces of a file as they are found, and the whole at the end.

    Raises:
        FailedPrecondition: FILE_CHANGED: it is not as it was found.
        OSError: it cannot be read.
    """
    descriptor = os.open(file.source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        whole = hashlib.sha256()
        pieces: list[Piece] = []
        buffer = memoryview(bytearray(min(_BUFFER, file.size)))
        offset = filled = 0
        while offset + filled < file.size or filled:
            filled += _fill(descriptor, buffer[filled:])
            is_end = filled < len(buffer) or offset + filled >= file.size
            sizes = _cuts(buffer[:filled], is_end=is_end)
            used = sum(sizes)
            if not used:
                break  # it has shrunk
            hashing = helpers.submit(whole.update, buffer[:used])
            found = _hash_all(buffer, offset, sizes, helpers)
            for each in found:
                pieces.append(each.result())
                yield pieces[-1]
            hashing.result()
            # What is behind the last cut is cut together with what comes then.
            buffer[: filled - used] = buffer[used:filled]
            offset, filled = offset + used, filled - used
        if offset != file.size or not file.is_unchanged(os.fstat(descriptor)):
            raise refusals.changed(file.source)
    finally:
        os.close(descriptor)
    yield Cut(file, whole.hexdigest(), tuple(pieces))


def _fill(descriptor: int, buffer: memoryview) -> int:
    """Reads until a buffer is full or the file ends; returns how many bytes."""
    done = 0
    while done < len(buffer) and (count := os.readv(descriptor, [buffer[done:]])):
        done += count
    return done


def _cuts(data: memoryview, *, is_end: bool) -> list[int]:
    """The sizes of the chunks at the beginning of some data; the rest is not decided yet."""
    from fastcdc import fastcdc

    sizes = [each.length for each in fastcdc(data, LEAST, AVERAGE, MOST)]
    # The last one ends where the data does: a cut only if the file ends there too, or where it
    # has the greatest size that there is.
    if sizes and not is_end and sizes[-1] < MOST:
        sizes.pop()
    return sizes


def _hash_all(
    buffer: memoryview, offset: int, sizes: list[int], helpers: Executor
) -> list[Future[Piece]]:
    found, start = [], 0
    for size in sizes:
        data = buffer[start : start + size]
        found.append(helpers.submit(_hash, data, offset + start))
        start += size
    return found


def _hash(data: memoryview, offset: int) -> Piece:
    return Piece(offset, len(data), hashlib.sha256(data).hexdigest())
