"""Sending blobs to the store itself, by signed requests; what cannot go there takes the server."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from subgrpc.client.transfer.blobs import Blob
from subgrpc.client.transfer.direct import Store, StoreFailed
from subgrpc.client.transfer.progress import Meter
from subgrpc.client.transfer.queue import TransferQueue
from subgrpc.client.transfer.retrying import retrying
from subgrpc.errors import Aborted, FailedPrecondition, InvalidArgument, Unimplemented
from subgrpc.v1.artifact_service_pb2 import Chunk, SignedRequest

if TYPE_CHECKING:
    from subgrpc.client.calls import Calls

T = TypeVar("T")
_THREADS = 4
_AT_ONCE = 8
"""Blobs that are signed, and made known, together."""
_TRIES = 3


class DirectUploader:
    """Sends what is put into its queue to the store.

    Args:
        calls: the server.
        parent: the team.
        instead: takes what the store did not.
        meter: counts what is sent.
        patience: seconds after which a server that cannot be reached is an error.
    """

    def __init__(
        self,
        calls: Calls,
        parent: str,
        instead: Callable[[Blob], None],
        meter: Meter,
        *,
        patience: float,
    ) -> None:
        self.queue: TransferQueue[Blob] = TransferQueue(64 << 20, 1000)
        self.is_usable = True
        """Whether the store can be reached from here, as far as is known."""
        self._calls, self._parent, self._instead = calls, parent, instead
        self._meter, self._patience = meter, patience
        self._threads: list[threading.Thread] = []

    def grow(self) -> None:
        """Begins with another thread."""
        if len(self._threads) < _THREADS:
            thread = threading.Thread(target=self._work, name="direct-upload", daemon=True)
            self._threads.append(thread)
            thread.start()

    def join(self) -> None:
        """Waits for the threads; the queue is over."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        store = Store()
        try:
            while (blob := self.queue.take()) is not None:
                some = [blob]
                while len(some) < _AT_ONCE and (blob := self.queue.take(0.0)) is not None:
                    some.append(blob)
                for each in self._refused(store, some):
                    self._instead(each)
                self.queue.done(len(some))
        except BaseException as error:  # the thread that waits raises it
            self.queue.fail(error)
        finally:
            store.close()

    def _refused(self, store: Store, some: list[Blob]) -> list[Blob]:
        """Sends blobs; returns those that the store does not have."""
        if not self.is_usable:
            return some
        sizes = [Chunk(digest=each.digest, size_bytes=each.size) for each in some]
        try:
            signed = self._call(lambda: self._calls.sign_blob_uploads(sizes, parent=self._parent))
        except (Unimplemented, InvalidArgument):  # another store than a moment ago
            self.is_usable = False
            return some
        pairs = list(zip(some, signed, strict=True))
        tokens = [each.upload_token for blob, each in pairs if self._put(store, blob, each)]
        sent = [blob for blob, each in pairs if each.upload_token in set(tokens)]
        try:
            if tokens:
                self._call(lambda: self._calls.commit_blobs(tokens, parent=self._parent))
        except (Aborted, FailedPrecondition, InvalidArgument):  # not there, or no longer
            return some
        for blob in sent:
            self._meter.add(done=blob.size, moved=blob.size)
        return [blob for blob in some if blob not in sent]

    def _put(self, store: Store, blob: Blob, request: SignedRequest) -> bool:
        for _ in range(_TRIES):
            if not self.is_usable:
                return False
            try:
                store.put(request, blob.size, (data for _, data in blob.pieces()))
            except StoreFailed as error:
                if error.status // 100 == 4:  # refused: perhaps what was read is not what it was
                    blob.check()
                    return False
            except (OSError, http.client.HTTPException) as error:
                self._note(blob, error)
            else:
                return True
        self.is_usable = False
        return False

    def _note(self, blob: Blob, error: Exception) -> None:
        """An error of the file is the caller's; any other is the network's."""
        if isinstance(error, OSError) and error.filename == blob.file.source:
            raise error
        broke = isinstance(error, ConnectionError | http.client.HTTPException)
        if isinstance(error, ConnectionRefusedError) or not broke:
            self.is_usable = False  # no route, no such name, a certificate of somebody else

    def _call(self, call: Callable[[], T]) -> T:
        return retrying(call, self._patience)
