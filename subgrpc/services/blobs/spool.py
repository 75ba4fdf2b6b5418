"""Where blobs wait on this server's disk until they are whole, and in the store.

    SPOOL/DIGEST.part        what has arrived of a blob: a later upload goes on at its end
    SPOOL/UID.pack           small blobs, one after the other: an object that is being filled

Nothing here is acknowledged as kept, so nothing is flushed. A file is used by one upload at a
time, and by one thread at a time. What nobody has touched for a day is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from subgrpc import names
from subgrpc.artifacts.failures import os_errors
from subgrpc.errors import InvalidArgument, OutOfRange
from subgrpc.metastore.blobs import Sealed

IDLE: Final = timedelta(days=1)
"""How long what has arrived of a blob waits for the rest."""
NAME: Final = "spool"
"""The spool's name in errors: the disk of the server's data folder."""
_PIECE: Final = 1 << 20


class Part:
    """What has arrived of one blob."""

    def __init__(self, path: Path, digest: bytes, size: int) -> None:
        """For `Spool.part`."""
        self.path = path
        self.digest = digest
        self.size = size
        self._file = -1
        self._hash = hashlib.sha256()
        self.received = 0
        """How many bytes there are; known once something was written."""

    def write(self, offset: int, data: bytes) -> bool:
        """Appends a piece; returns whether the blob is whole now, and right.

        Raises:
            OutOfRange: BLOB_OFFSET: the piece does not begin where the last one ended, or at 0.
            InvalidArgument: DIGEST_MISMATCH: what came is not the blob; it is forgotten.
            ResourceExhausted: STORE_FULL: the disk is full; the piece is not kept.
        """
        with os_errors(NAME):
            if self._file < 0:
                self._open()
            if offset == 0 and self.received:
                self._restart()
            if offset != self.received:
                text = f"the piece begins at {offset}, but {self.received} bytes have arrived"
                facts = {"digest": self.digest.hex(), "committedSize": str(self.received)}
                raise OutOfRange(text, reason="BLOB_OFFSET", metadata=facts)
            _write_all(self._file, data, offset)
        self._hash.update(data)
        self.received += len(data)
        if self.received < self.size:
            return False
        if self._hash.digest() != self.digest:
            self.discard()
            raise mismatch(self.digest)
        return True

    def pause(self) -> None:
        """Closes the file; another upload may go on with it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def discard(self) -> None:
        """Forgets what has arrived."""
        self.pause()
        self.path.unlink(missing_ok=True)
        self.received = 0

    def _open(self) -> None:
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        found = os.fstat(self._file).st_size
        # Also a whole one starts again: its upload ended before it was put.
        if found >= self.size:
            os.ftruncate(self._file, 0)
            found = 0
        while self.received < found:
            piece = os.pread(self._file, _PIECE, self.received)
            self._hash.update(piece)
            self.received += len(piece)

    def _restart(self) -> None:
        os.ftruncate(self._file, 0)
        self._hash = hashlib.sha256()
        self.received = 0


class Pack:
    """Small blobs that are put together into one object."""

    def __init__(self, path: Path) -> None:
        """For `Spool.pack`."""
        self.path = path
        self.content: list[Sealed] = []
        self.size = 0
        self._file = -1
        self._hash = hashlib.sha256()

    def add(self, blobs: Sequence[tuple[bytes, bytes]]) -> None:
        """Appends blobs: digests and contents, which were compared.

        Raises:
            ResourceExhausted: STORE_FULL: the disk is full; none of them is in the pack.
        """
        data = b"".join(content for _, content in blobs)
        with os_errors(NAME):
            self._open()
            _write_all(self._file, data, self.size)
        self._hash.update(data)
        for digest, content in blobs:
            self.content.append(Sealed(digest, self.size, len(content)))
            self.size += len(content)

    def add_part(self, part: Part) -> None:
        """Appends a whole blob from its file, which is gone then.

        Raises:
            ResourceExhausted: STORE_FULL; the blob is not in the pack, and its file stays.
        """
        digests = self._hash.copy()
        with os_errors(NAME), part.path.open("rb") as file:
            self._open()
            end = self.size
            while piece := file.read(_PIECE):
                _write_all(self._file, piece, end)
                digests.update(piece)
                end += len(piece)
        self._hash = digests
        self.content.append(Sealed(part.digest, self.size, part.size))
        self.size = end
        part.discard()

    def _open(self) -> None:
        if self._file < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = os.open(self.path, flags, 0o600)

    def seal(self) -> bytes:
        """Ends the pack; returns the digest of the whole."""
        os.close(self._file)
        self._file = -1
        return self._hash.digest()

    def discard(self) -> None:
        """Removes the pack."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self.path.unlink(missing_ok=True)


class Spool:
    """The folder; for the event loop."""

    def __init__(self, folder: Path) -> None:
        """Takes a folder that is this server's alone; made if it is not there.

        What a server that was killed left there and nobody can go on with is removed.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in (*folder.glob("*.pack"), *folder.glob("*.*.part")):
            path.unlink(missing_ok=True)
        self._folder = folder
        self._claimed: set[Path] = set()

    def part(self, digest: bytes, size: int) -> Part:
        """The part of a blob, for one upload until it is released."""
        path = self._path(digest)
        if path in self._claimed:
            # Two uploads of one blob at once: the second begins anew and cannot be resumed.
            path = self._folder / f"{digest.hex()}.{names.new_uid()}.part"
        self._claimed.add(path)
        return Part(path, digest, size)

    def release(self, part: Part) -> None:
        """The upload is over, or broken off."""
        self._claimed.discard(part.path)

    def pack(self) -> Pack:
        """A new pack."""
        return Pack(self._folder / f"{names.new_uid()}.pack")

    def received(self, digest: bytes) -> int:
        """How much has arrived of a blob."""
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            return 0

    def sweep(self, idle: timedelta = IDLE) -> int:
        """Removes what nobody has touched for long; returns how many files."""
        latest = time.time() - idle.total_seconds()
        removed = 0
        with os_errors(NAME):
            for path in self._folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if path not in self._claimed and path.stat().st_mtime < latest:
                        path.unlink()
                        removed += 1
        return removed

    def _path(self, digest: bytes) -> Path:
        return self._folder / f"{digest.hex()}.part"


def mismatch(digest: bytes) -> InvalidArgument:
    """What was sent is not what its digest says."""
    text = f"the content of blob {digest.hex()} has another digest: send it again from its start"
    return InvalidArgument(text, reason="DIGEST_MISMATCH", metadata={"digest": digest.hex()})


def _write_all(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        offset += written
        view = view[written:]
