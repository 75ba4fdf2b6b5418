"""Files that are being put together from blobs, in a folder that nobody else looks at.

A blob is written where it belongs as it comes. A file of one blob is compared with that blob's
digest; one of several is hashed as a whole, from its beginning to as far as it is there, while
the rest is still on its way.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from subgrpc.client.transfer import manifest, refusals
from subgrpc.v1.artifact_service_pb2 import ArtifactFile

_BUFFER = 1 << 20


@dataclass(eq=False)
class WantedBlob:
    """A blob to receive.

    Attributes:
        digest: its SHA-256.
        size: in bytes.
        places: where it belongs: files, and which of their chunks it is.
    """

    digest: str
    size: int
    places: list[tuple[Assembled, int]] = field(default_factory=list)


class Assembled:
    """A file that is being put together.

    Args:
        folder: where files are put together.
        entry: what it shall become.
    """

    def __init__(self, folder: str, entry: ArtifactFile) -> None:
        self.entry = entry
        self.path = os.path.join(folder, *entry.path.split("/"))
        self.chunks = _chunks(entry)
        """Digest and size of each chunk."""
        self.offsets: list[int] = []
        """Where each chunk begins."""
        offset = 0
        for _, size in self.chunks:
            self.offsets.append(offset)
            offset += size
        if offset != entry.size_bytes:
            text = f"the chunks of {entry.path!r} have {offset} bytes, not {entry.size_bytes}"
            raise refusals.damaged(text)
        self.is_complete = False
        self._missing = set(range(len(self.offsets)))
        self._whole = hashlib.sha256()
        self._hashed = 0  # chunks
        self._is_hashing = False
        self._lock = threading.Lock()

    @property
    def mode(self) -> int:
        """Its permission bits, before the umask: whoever pulls may write to it."""
        return (self.entry.mode or manifest.DEFAULT_MODE) & 0o777 | 0o600

    def has(self, chunk: int) -> bool:
        """Whether a chunk is there."""
        return chunk not in self._missing

    def open(self) -> int:
        """Opens it for writing."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self.path, flags, self.mode)

    def create(self, data: bytes) -> None:
        """Writes it as a whole; its digest was compared before."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, self.mode)
        try:
            write(descriptor, data)
        finally:
            os.close(descriptor)
        self._missing.clear()
        self.is_complete = True

    def add(self, chunk: int) -> bool:
        """Notes that a chunk was written; true: somebody shall call `hash_on`."""
        with self._lock:
            self._missing.discard(chunk)
        return self.can_hash()

    def can_hash(self) -> bool:
        """Whether somebody shall call `hash_on`: its beginning is there, and nobody does."""
        with self._lock:
            begins = not (self.is_complete or self._is_hashing or self._hashed in self._missing)
            self._is_hashing = self._is_hashing or begins
            return begins

    def hash_on(self) -> None:
        """Hashes what is there from the beginning on.

        Raises:
            DataLoss: DOWNLOAD_DAMAGED: all is there, and is not what it should be.
        """
        buffer = memoryview(bytearray(_BUFFER))
        with open(self.path, "rb", buffering=0) as file:
            while (chunk := self._next_to_hash()) is not None:
                file.seek(self.offsets[chunk])
                for data in _read(file.fileno(), self.chunks[chunk][1], buffer):
                    self._whole.update(data)
                self._hashed += 1
        if self._hashed < len(self.chunks):
            return
        if self._whole.hexdigest() != self.entry.sha256:
            text = f"{self.entry.path!r} does not have the SHA-256 that it was pushed with"
            raise refusals.damaged(text)
        self.is_complete = True

    def _next_to_hash(self) -> int | None:
        with self._lock:
            if self._hashed < len(self.chunks) and self._hashed not in self._missing:
                return self._hashed
            self._is_hashing = False
            return None

    def take_up(self) -> int:
        """Looks at what an interrupted pull has left; returns how many bytes of it are right."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return 0
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return 0
            os.fchmod(descriptor, os.fstat(descriptor).st_mode | 0o600)
            for chunk in range(len(self.offsets)):
                if self._is_right(descriptor, chunk):
                    self._missing.discard(chunk)
        finally:
            os.close(descriptor)
        if len(self.chunks) < 2:
            self.is_complete = not self._missing  # its digest is that of its chunk
        return sum(self.chunks[each][1] for each in range(len(self.offsets)) if self.has(each))

    def _is_right(self, descriptor: int, chunk: int) -> bool:
        offset, size = self.offsets[chunk], self.chunks[chunk][1]
        try:  # what was never written is a hole as a rule
            if os.lseek(descriptor, offset, os.SEEK_DATA) >= offset + size:
                return False
        except OSError:
            return False  # a hole up to the end
        os.lseek(descriptor, offset, os.SEEK_SET)
        found = hashlib.sha256()
        for data in _read(descriptor, size, memoryview(bytearray(_BUFFER))):
            found.update(data)
        return found.hexdigest() == self.chunks[chunk][0]


def _chunks(entry: ArtifactFile) -> list[tuple[str, int]]:
    """Digest and size of each chunk of a file."""
    if entry.chunks:
        return [(each.digest, each.size_bytes) for each in entry.chunks]
    return [(entry.sha256, entry.size_bytes)] if entry.size_bytes else []


def wanted(files: Iterable[Assembled]) -> list[WantedBlob]:
    """The blobs that files lack, each once, in the order in which they are met first."""
    found: dict[str, WantedBlob] = {}
    for file in files:
        for chunk, (digest, size) in enumerate(file.chunks):
            if not file.has(chunk):
                blob = found.setdefault(digest, WantedBlob(digest, size))
                blob.places.append((file, chunk))
    return list(found.values())


def write(descriptor: int, data: bytes, offset: int = 0) -> None:
    """Writes all of some data."""
    done = os.pwrite(descriptor, data, offset)
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)


def _read(descriptor: int, size: int, buffer: memoryview) -> Iterator[memoryview]:
    """Yields the next bytes of a file, in pieces that are valid until the next one."""
    while size and (count := os.readv(descriptor, [buffer[: min(size, len(buffer))]])):
        size -= count
        yield buffer[:count]
