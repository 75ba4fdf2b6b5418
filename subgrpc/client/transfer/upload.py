"""Sending blobs through the server: several streams, each of which outlives its connections."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from itertools import islice

import grpc

from subgrpc.client.channel import Target
from subgrpc.client.patience import Patience
from subgrpc.client.statuses import from_rpc, is_connection_loss
from subgrpc.client.transfer import blobs
from subgrpc.client.transfer.blobs import Blob
from subgrpc.client.transfer.progress import Meter
from subgrpc.client.transfer.queue import TransferQueue
from subgrpc.errors import ResourceExhausted, SubgrpcError, Unavailable
from subgrpc.v1 import artifact_service_pb2 as v1
from subgrpc.v1.artifact_service_pb2_grpc import ArtifactServiceStub

WINDOW = 64 << 20
"""Bytes that may be on their way, of all streams."""
_IDLE = 2.0
"""Seconds after which a stream ends for which there is nothing to send."""
_CALL = 30.0
_MOST_ASKED = 10_000
_MOST_MISMATCHES = 3
_ASK_AGAIN = ("BLOB_OFFSET", "OBJECT_CONDEMNED")
"""The server has more, or less, than it was when it was asked."""

BlobQueue = TransferQueue[Blob]


class Uploader:
    """Sends what is put into its queue.

    Args:
        target: the server.
        parent: the team.
        queue: where blobs come from.
        meter: counts what is sent.
        patience: seconds after which a server that cannot be reached is an error.
        streams: how many, at most.
    """

    def __init__(
        self,
        target: Target,
        parent: str,
        queue: BlobQueue,
        meter: Meter,
        *,
        patience: float,
        streams: int,
    ) -> None:
        self._target, self._parent = target, parent
        self._queue, self._meter = queue, meter
        self._patience = patience
        self._streams = streams
        self._threads: list[threading.Thread] = []
        self._senders: list[_Sender] = []
        self._lock = threading.Lock()

    def grow(self) -> None:
        """Begins with another stream if the others have more than enough to do."""
        with self._lock:
            count = len(self._threads)
            if count < self._streams and (
                not count or self._queue.waiting_bytes > count * blobs.FRAME * 2
            ):
                thread = threading.Thread(target=self._work, name=f"upload-{count}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def renew(self) -> None:
        """Lets the streams end once they have nothing to do, and others begin.

        A server takes it that what it has of a stream is there, and does not look again.
        """
        for sender in list(self._senders):
            sender.renew()

    def abort(self) -> None:
        """Ends the calls that are under way; the queue has failed."""
        for sender in list(self._senders):
            sender.cancel()

    def join(self) -> None:
        """Waits for the threads; the queue is over."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        channel = self._target.open(streams=True, bulk=True)
        try:
            sender = _Sender(channel, self._target, self._parent, self._queue, self._meter)
            self._senders.append(sender)
            while (blob := self._queue.take()) is not None:
                sender.send([blob], Patience(self._patience), WINDOW // self._streams)
        except BaseException as error:  # the thread that waits raises it
            self._queue.fail(error)
        finally:
            channel.close()


class _Sender:
    """One stream after the other over one channel: a server remembers what it has of a blob."""

    def __init__(
        self, channel: grpc.Channel, target: Target, parent: str, queue: BlobQueue, meter: Meter
    ) -> None:
        self._stub = ArtifactServiceStub(channel)
        self._target, self._parent = target, parent
        self._queue, self._meter = queue, meter
        self._mismatches = 0
        self._call: grpc.Call | None = None
        self._outgoing: _Outgoing | None = None

    def renew(self) -> None:
        """Ends the stream that is under way, in good order."""
        if (outgoing := self._outgoing) is not None:
            outgoing.end()

    def cancel(self) -> None:
        """Ends the call that is under way."""
        if (call := self._call) is not None:
            call.cancel()

    def send(self, first: list[Blob], patience: Patience, window: int) -> None:
        """Sends some blobs, and what the queue has, until it has no more for a while.

        Raises:
            SubgrpcError: it cannot be sent.
        """
        left = first
        while left and not self._queue.is_over:
            outgoing = self._outgoing = _Outgoing(left, self._queue, window)
            try:
                self._stream(outgoing, patience)
                left = outgoing.end()
            except SubgrpcError:
                raise
            except grpc.RpcError as error:
                left = outgoing.end()
                self._lose(error, left, patience)
            if left and not self._queue.is_over:
                self._queue.pause(patience.pause())
                left = self._still_missing(left, patience)

    def _stream(self, outgoing: _Outgoing, patience: Patience) -> None:
        call = self._stub.UploadBlobs(
            outgoing.requests(self._parent), metadata=self._target.metadata
        )
        self._call = call
        try:
            for response in call:
                for upload in response.uploads:
                    self._take(outgoing, upload)
                patience.progress()
        finally:
            outgoing.end()
            call.cancel()

    def _take(self, outgoing: _Outgoing, upload: v1.BlobUpload) -> None:
        if upload.complete and (blob := outgoing.acknowledge(upload.digest)) is not None:
            self._settle(blob)

    def _settle(self, blob: Blob) -> None:
        blob.settle()
        self._meter.add(done=blob.size, moved=blob.size - blob.start)
        self._queue.done()

    def _lose(self, error: grpc.RpcError, left: list[Blob], patience: Patience) -> None:
        """Raises what trying again cannot cure."""
        found = from_rpc(error, self._target.address)
        if found.reason in _ASK_AGAIN and not patience.is_over():
            return
        if found.reason == "DIGEST_MISMATCH" and self._mismatches < _MOST_MISMATCHES:
            # A file that was changed, or a part that was damaged on its way.
            self._mismatches += 1
            for blob in left:
                blob.check()
            return
        busy = isinstance(found, ResourceExhausted) and found.retry_after is not None
        lost = isinstance(found, Unavailable) or is_connection_loss(error)
        if patience.is_over() or not (busy or lost):
            raise found from error

    def _still_missing(self, left: list[Blob], patience: Patience) -> list[Blob]:
        """What is to be sent of what was not acknowledged: it may have arrived all the same."""
        while not self._queue.is_over:
            try:
                return list(self._ask(left))
            except grpc.RpcError as error:
                self._lose(error, [], patience)
            self._queue.pause(patience.pause())
        return []

    def _ask(self, left: list[Blob]) -> Iterator[Blob]:
        metadata = self._target.metadata
        ahead = iter(left)
        while some := list(islice(ahead, _MOST_ASKED)):
            request = v1.FindMissingBlobsRequest(
                parent=self._parent, digests=[each.digest for each in some]
            )
            answer = self._stub.FindMissingBlobs(request, timeout=_CALL, metadata=metadata)
            missing = set(answer.missing)
            for blob in some:
                if blob.digest not in missing:
                    self._settle(blob)
                    continue
                blob.start = 0
                if blob.size > blobs.PIECE:
                    asked = v1.GetBlobUploadRequest(parent=self._parent, digest=blob.digest)
                    told = self._stub.GetBlobUpload(asked, timeout=_CALL, metadata=metadata)
                    blob.start = min(told.upload.committed_size, blob.size - 1)
                yield blob


class _Outgoing:
    """What one stream sends: as much as its window allows, until it is told to end."""

    def __init__(self, first: list[Blob], queue: BlobQueue, window: int) -> None:
        self._first = deque(first)
        self._queue, self._window = queue, window
        self._changed = threading.Condition()
        self._sent: dict[str, Blob] = {}
        self._sent_bytes = 0
        self._next: Blob | None = None
        self._ended = False

    def requests(self, parent: str) -> Iterator[v1.UploadBlobsRequest]:
        """Yields what is to be sent; gRPC asks for it in a thread of its own."""
        try:
            yield from blobs.requests(parent, self._blobs())
        except GeneratorExit:  # the call has ended
            raise
        except BaseException as error:  # a file that cannot be read: nobody here to be told
            self._queue.fail(error)

    def acknowledge(self, digest: str) -> Blob | None:
        """Notes that a blob is durable; None: it was noted before."""
        with self._changed:
            blob = self._sent.pop(digest, None)
            if blob is not None:
                self._sent_bytes -= blob.size
                self._changed.notify_all()
            return blob

    def end(self) -> list[Blob]:
        """Nothing more is sent; returns what was not acknowledged."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            held = [self._next] if self._next is not None else []
            return [*self._sent.values(), *held, *self._first]

    def _blobs(self) -> Iterator[Blob | None]:
        """None: what was yielded before shall not wait for more."""
        idle = False
        while not self._ended:
            if not self._hold(_IDLE if idle else 0.0):
                if idle and not self._sent:
                    return
                idle = True
                yield None
                continue
            idle = False
            if not self._has_room():
                yield None
            if (blob := self._release()) is not None:
                yield blob

    def _hold(self, seconds: float) -> bool:
        """Takes the next blob; false: there is none for so long, or this has ended."""
        with self._changed:
            if self._ended:
                return False
            if self._first:
                self._next = self._first.popleft()
                return True
        blob = self._queue.take(seconds)
        with self._changed:
            if blob is not None and self._ended:
                self._queue.give_back([blob])
                return False
            self._next = blob
            return blob is not None

    def _release(self) -> Blob | None:
        """Waits for room for the blob that is held, and sends it; None: this has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._has_room())
            blob = self._next
            if self._ended or blob is None:
                return None
            self._next = None
            self._sent[blob.digest] = blob
            self._sent_bytes += blob.size
            return blob

    def _has_room(self) -> bool:
        size = self._next.size if self._next is not None else 0
        return not self._sent or self._sent_bytes + size <= self._window
