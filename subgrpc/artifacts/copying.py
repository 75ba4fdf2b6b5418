"""Copying of files in big blocks, with the digest of what went through."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Final

from subgrpc.artifacts import failures

BLOCK: Final = 1 << 20


@contextlib.contextmanager
def descriptor(path: str | Path, flags: int, folder: int | None = None) -> Iterator[int]:
    """Opens a path (new files for their owner only), and closes it."""
    opened = os.open(path, flags, 0o600, dir_fd=folder)
    try:
        yield opened
    finally:
        os.close(opened)


@contextlib.contextmanager
def opened(store: str, key: str, source: Path, size: int) -> Iterator[FileIO]:
    """Opens a file that is to be put.

    Raises:
        InvalidArgument: UNREADABLE; OBJECT_MISMATCH: it is not of that size.
    """
    try:
        file = source.open("rb", buffering=0)
    except OSError as error:
        raise failures.unreadable(store, key, error) from error
    with file:
        found = os.fstat(file.fileno()).st_size
        if found != size:
            raise failures.mismatch(store, key, f"has {found} bytes, not {size}")
        yield file


def copy(store: str, key: str, source: FileIO, target: int) -> tuple[int, bytes]:
    """Copies what is left of a file to a descriptor; returns the number of bytes and their sha256.

    Errors of the source are told from those of the store that the target belongs to.
    """
    digest = hashlib.sha256()
    block = memoryview(bytearray(BLOCK))
    total = 0
    while True:
        try:
            size = source.readinto(block)
        except OSError as error:
            raise failures.unreadable(store, key, error) from error
        if not size:
            return total, digest.digest()
        digest.update(block[:size])
        left = block[:size]
        while left:
            left = left[os.write(target, left) :]
        total += size
