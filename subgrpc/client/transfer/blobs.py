"""Blobs that are to be sent: where their bytes are, and in which pieces they travel."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from subgrpc.client.transfer import refusals
from subgrpc.client.transfer.cutting import Piece
from subgrpc.client.transfer.scan import LocalFile
from subgrpc.v1.artifact_service_pb2 import ArtifactFile, UploadBlobsRequest

PIECE = 1 << 19
"""Bytes of a piece of a large blob: each is copied several times on its way."""
FRAME = 1 << 19
"""The most bytes of data in one request."""
_MOST_PIECES = 2000
"""Of small blobs in one request: each has about a hundred bytes beside its data."""


@dataclass(eq=False)
class Blob:
    """A blob to send.

    Attributes:
        digest: its SHA-256.
        size: in bytes.
        file: the file that it is a part of.
        offset: where in the file it begins.
        data: its bytes, where they are in memory.
        start: how many of its bytes need not be sent any more.
        is_settled: the server has it.
    """

    digest: str
    size: int
    file: LocalFile
    offset: int
    data: bytes | None = None
    start: int = 0
    is_settled: bool = False

    def settle(self) -> None:
        """Notes that the server has it: its bytes are not needed any more."""
        self.is_settled, self.data = True, None

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Yields offset and data of each piece, from `start` on.

        Raises:
            FailedPrecondition: FILE_CHANGED.
            OSError: the file cannot be read.
        """
        if self.data is not None:
            for offset in range(self.start, self.size, PIECE):
                yield offset, self.data[offset : offset + PIECE]
            return
        descriptor = os.open(self.file.source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            offset = self.start
            while offset < self.size:
                count = min(PIECE, self.size - offset)
                data = os.pread(descriptor, count, self.offset + offset)
                if len(data) != count:
                    raise refusals.changed(self.file.source)
                yield offset, data
                offset += count
            self.check(descriptor)
        finally:
            os.close(descriptor)

    def check(self, descriptor: int | None = None) -> None:
        """Complains if the file is not any more what it was when it was hashed.

        Raises:
            FailedPrecondition: FILE_CHANGED.
            OSError: it is gone.
        """
        now = os.fstat(descriptor) if descriptor is not None else os.lstat(self.file.source)
        if not self.file.is_unchanged(now):
            raise refusals.changed(self.file.source)


def of_piece(file: LocalFile, piece: Piece) -> Blob:
    """The blob that a piece of a file becomes."""
    return Blob(piece.digest, piece.size, file, piece.offset, piece.data)


def of_entry(file: LocalFile, entry: ArtifactFile) -> Iterator[Blob]:
    """The blobs of a file of an artifact, in order."""
    if not entry.chunks and entry.size_bytes:
        yield Blob(entry.sha256, entry.size_bytes, file, 0)
    offset = 0
    for chunk in entry.chunks:
        yield Blob(chunk.digest, chunk.size_bytes, file, offset)
        offset += chunk.size_bytes


def requests(parent: str, blobs: Iterable[Blob | None]) -> Iterator[UploadBlobsRequest]:
    """Yields requests with the pieces of blobs: many small ones in one, large ones in several.

    A None among the blobs says that the next one may take a while: what is there is sent.
    """
    request, size = UploadBlobsRequest(parent=parent), 0
    for blob in blobs:
        for offset, data in blob.pieces() if blob is not None else ():
            assert blob is not None
            if size + len(data) > FRAME:
                yield request
                request, size = UploadBlobsRequest(), 0
            request.pieces.add(digest=blob.digest, size_bytes=blob.size, offset=offset, data=data)
            size += len(data)
        if blob is not None:
            blob.data = None  # whoever sends it again reads it again
        if request.pieces and (blob is None or len(request.pieces) >= _MOST_PIECES):
            yield request
            request, size = UploadBlobsRequest(), 0
    if request.pieces:
        yield request
