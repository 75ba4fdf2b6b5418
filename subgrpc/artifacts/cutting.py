"""Cuts large content into chunks by what is in it, from a stream, with little memory.

The same content is cut at the same places by whoever does it: `subgrpc.client.transfer.cutting`
does so for files on a user's disk, with the same sizes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final, NamedTuple

WHOLE: Final = 16 << 20
"""Files up to this size, in bytes, are one chunk."""
LEAST: Final = 1 << 20
AVERAGE: Final = 4 << 20
MOST: Final = 16 << 20
"""Sizes of chunks of larger files, in bytes."""


class Piece(NamedTuple):
    """A chunk that was cut off.

    Attributes:
        digest: its SHA-256.
        data: its bytes.
    """

    digest: bytes
    data: bytes


class Cutter:
    """Cuts one file; its methods block for as long as hashing takes.

    Attributes:
        size: how many bytes were taken.
    """

    def __init__(self, size: int) -> None:
        """Takes the size that the file will have."""
        self.size = 0
        self._is_whole = size <= WHOLE
        self._rest = bytearray()
        self._hash = hashlib.sha256()

    @property
    def is_full(self) -> bool:
        """Whether `cut` has something to cut off for certain."""
        return len(self._rest) >= MOST and not self._is_whole

    def take(self, data: bytes) -> None:
        """Takes the next bytes."""
        self.size += len(data)
        self._rest += data

    def cut(self, *, is_end: bool) -> list[Piece]:
        """Cuts off what is certain; at the end all there is."""
        found = list(self._pieces(is_end)) if self._rest else []
        for piece in found:
            self._hash.update(piece.data)
        del self._rest[: sum(len(piece.data) for piece in found)]
        return found

    def sha256(self) -> bytes:
        """The digest of all that was cut off."""
        return self._hash.digest()

    def _pieces(self, is_end: bool) -> Iterator[Piece]:
        start = 0
        with memoryview(self._rest) as view:
            for size in self._sizes(is_end):
                data = bytes(view[start : start + size])
                yield Piece(hashlib.sha256(data).digest(), data)
                start += size

    def _sizes(self, is_end: bool) -> list[int]:
        if self._is_whole:
            return [len(self._rest)] if is_end else []
        from fastcdc import fastcdc  # loaded where it is needed: few servers cut anything

        sizes: list[int] = [each.length for each in fastcdc(self._rest, LEAST, AVERAGE, MOST)]
        # The last one ends where the data does: a cut only at the end of the file, or where it has
        # the greatest size that there is.
        if not is_end and sizes[-1] < MOST:
            sizes.pop()
        return sizes
