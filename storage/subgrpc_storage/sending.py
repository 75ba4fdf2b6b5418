"""The file that is put, as HTTP libraries read it: of a known size, with a digest on the way."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO

from subgrpc.artifacts import failures


class Body:
    """A file's content. Its errors are none of the network's, and come through HTTP libraries.

    The digest is computed beside the sending, in a thread of its own (a context manager ends it):
    one after the other a put would take a third longer.
    """

    def __init__(self, store: str, key: str, file: FileIO, size: int, sha256: bytes | None) -> None:
        self._store = store
        self._key = key
        self._file = file
        self._size = size
        self._sha256 = sha256
        self._digester = ThreadPoolExecutor(1, "digest")
        self._pending: Future[None] | None = None
        self.rewind()

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_: object) -> None:
        self._digester.shutdown()

    def __len__(self) -> int:
        """The number of bytes, which the request announces."""
        return self._size

    def rewind(self) -> None:
        """Begins again."""
        self._digested()
        self._file.seek(0)
        self._left = self._size
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Returns the next piece; empty at the end.

        Raises:
            InvalidArgument: UNREADABLE; OBJECT_MISMATCH: the file has become shorter.
        """
        wanted = self._left if size < 0 else min(size, self._left)
        if not wanted:
            return b""
        try:
            piece = self._file.read(wanted)
        except OSError as error:
            raise failures.unreadable(self._store, self._key, error) from error
        if not piece:
            text = f"has {self._size - self._left} bytes, not {self._size}"
            raise failures.mismatch(self._store, self._key, text)
        self._left -= len(piece)
        if self._sha256 is not None:
            self._digested()
            self._pending = self._digester.submit(self._digest.update, piece)
        return piece

    def verify(self) -> None:
        """Compares the digest of what was read with the one that was promised.

        Raises:
            InvalidArgument: OBJECT_MISMATCH.
        """
        self._digested()
        if self._sha256 is not None and self._digest.digest() != self._sha256:
            text = f"has the sha256 {self._digest.hexdigest()}, not {self._sha256.hex()}"
            raise failures.mismatch(self._store, self._key, text)

    def _digested(self) -> None:
        """Waits for the piece before: no more than two are in memory."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None
