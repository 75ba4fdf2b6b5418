"""Where the bytes of one blob go as they come."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from subgrpc.client.transfer import refusals
from subgrpc.client.transfer.assembly import Assembled, WantedBlob, write

_IN_MEMORY = 2 << 20
"""Blobs up to this size are written at one go, when they are whole."""
_COPY = 1 << 20
_MOST_DAMAGED = 3


class Sink:
    """Takes the bytes of a blob, in order, from wherever the last ones ended.

    A blob is compared with its digest as it comes. One that is only a part of files may be left to
    them: each is hashed as a whole when it is there, and once is enough.

    Args:
        blob: the blob.
        is_part: called with each file of several chunks that one was added to, and which.
    """

    def __init__(self, blob: WantedBlob, is_part: Callable[[Assembled, int], None]) -> None:
        self.blob = blob
        self._is_part = is_part
        self.compares = True
        """Whether the blob itself is compared; may be changed before the first byte comes."""
        self.received = 0
        """How many bytes have come."""
        self._digest = hashlib.sha256()
        self._data: list[bytes] = []
        self._descriptor = -1
        self._damaged = 0

    @property
    def size(self) -> int:
        """Of the blob, in bytes."""
        return self.blob.size

    @property
    def is_complete(self) -> bool:
        """Whether the whole blob is where it belongs."""
        return self.received == self.blob.size

    def take(self, offset: int, data: bytes) -> int:
        """Takes the next bytes; returns how many bytes of files are there that were not before.

        Raises:
            DataLoss: DOWNLOAD_DAMAGED: they are not what was asked for, again and again.
            OSError: they cannot be written.
        """
        if offset != self.received or offset + len(data) > self.blob.size:
            text = f"blob {self.blob.digest}: bytes at {offset} where {self.received} was next"
            raise refusals.damaged(text)
        if self.compares:
            self._digest.update(data)
        if self.blob.size <= _IN_MEMORY:
            self._data.append(data)
        else:
            write(self._open(), data, self._place()[1] + offset)
        self.received += len(data)
        if self.received < self.blob.size:
            return len(data)
        self._end()
        places = len(self.blob.places) if self.is_complete else 0
        return places * self.blob.size - offset

    def trust(self) -> None:
        """Leaves the comparison to the files, if it can be, and nothing has come yet."""
        is_part = all(len(file.chunks) > 1 for file, _ in self.blob.places)
        if is_part and not self.received:
            self.compares = False

    def pause(self) -> None:
        """Closes what is open: the rest will come later."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _end(self) -> None:
        data = b"".join(self._data) if len(self._data) != 1 else self._data[0]
        self._data.clear()
        try:
            if self.compares and self._digest.hexdigest() != self.blob.digest:
                self._begin_again()
            elif self.blob.size <= _IN_MEMORY:
                self._write_everywhere(data)
            else:
                self._copy_everywhere()
        finally:
            self.pause()

    def _begin_again(self) -> None:
        self._damaged += 1
        self.received, self._digest = 0, hashlib.sha256()
        if self._damaged == _MOST_DAMAGED:
            text = f"blob {self.blob.digest} arrived damaged {_MOST_DAMAGED} times"
            raise refusals.damaged(text)

    def _write_everywhere(self, data: bytes) -> None:
        for file, chunk in self.blob.places:
            if len(file.chunks) == 1:
                file.create(data)
                continue
            descriptor = file.open()
            try:
                write(descriptor, data, file.offsets[chunk])
            finally:
                os.close(descriptor)
            self._is_part(file, chunk)

    def _copy_everywhere(self) -> None:
        """It is in its first place: now in the others."""
        first, start = self._place()
        source = self._open()
        for file, chunk in self.blob.places:
            if file is not first or file.offsets[chunk] != start:
                descriptor = file.open()
                try:
                    for offset in range(0, self.blob.size, _COPY):
                        data = os.pread(source, min(_COPY, self.blob.size - offset), start + offset)
                        write(descriptor, data, file.offsets[chunk] + offset)
                finally:
                    os.close(descriptor)
            if len(file.chunks) == 1:
                file.is_complete = True
            else:
                self._is_part(file, chunk)

    def _place(self) -> tuple[Assembled, int]:
        file, chunk = self.blob.places[0]
        return file, file.offsets[chunk]

    def _open(self) -> int:
        if self._descriptor < 0:
            self._descriptor = self._place()[0].open()
        return self._descriptor
