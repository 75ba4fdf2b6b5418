"""Receiving blobs: several streams of the server, or requests to the store itself."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import grpc

from subgrpc.client.calls import Calls
from subgrpc.client.channel import Target
from subgrpc.client.patience import Patience
from subgrpc.client.statuses import from_rpc, is_connection_loss
from subgrpc.client.transfer import refusals
from subgrpc.client.transfer.direct import Store, StoreFailed, StoreLost
from subgrpc.client.transfer.progress import Meter
from subgrpc.client.transfer.queue import TransferQueue
from subgrpc.client.transfer.retrying import retrying
from subgrpc.client.transfer.sink import Sink
from subgrpc.errors import ResourceExhausted, Unavailable, Unimplemented
from subgrpc.v1 import artifact_service_pb2 as v1
from subgrpc.v1.artifact_service_pb2_grpc import ArtifactServiceStub

_BATCH_BYTES, _BATCH_BLOBS = 16 << 20, 2000
"""What one call asks for, at most."""
_DIRECT = 1 << 20
"""Blobs of fewer bytes are not worth a request of their own."""
_MOST_SIGNED = 100


class Batch:
    """Blobs that are asked for together.

    Attributes:
        sinks: where each of them goes.
        size: bytes of all.
    """

    def __init__(self, sinks: list[Sink]) -> None:
        self.sinks = sinks
        self.size = sum(each.size for each in sinks)

    def left(self) -> list[Sink]:
        """What has not come yet."""
        return [each for each in self.sinks if not each.is_complete]


def batches(sinks: Iterable[Sink]) -> Iterator[Batch]:
    """Yields blobs in batches, in order."""
    batch: list[Sink] = []
    size = 0
    for sink in sinks:
        if batch and (size + sink.size > _BATCH_BYTES or len(batch) == _BATCH_BLOBS):
            yield Batch(batch)
            batch, size = [], 0
        batch.append(sink)
        size += sink.size
    if batch:
        yield Batch(batch)


class Receiver:
    """Receives what is put into its queue.

    Args:
        calls: the server.
        target: the same, for streams.
        artifact: the artifact's name.
        meter: counts what is received.
        patience: seconds after which a server that cannot be reached is an error.
        streams: how many, at most.
        direct: whether the store itself is read from, where it can be reached.
    """

    def __init__(
        self,
        calls: Calls,
        target: Target,
        artifact: str,
        meter: Meter,
        *,
        patience: float,
        streams: int,
        direct: bool,
    ) -> None:
        self.queue: TransferQueue[Batch] = TransferQueue(64 << 20, 16)
        self._calls, self._target, self._artifact = calls, target, artifact
        self._meter, self._patience = meter, patience
        self._streams, self._direct = streams, direct
        self._threads: list[threading.Thread] = []
        self._running: dict[threading.Thread, grpc.Call] = {}

    def grow(self) -> None:
        """Begins with another stream, unless there are enough."""
        if len(self._threads) < self._streams:
            thread = threading.Thread(target=self._work, name="receive", daemon=True)
            self._threads.append(thread)
            thread.start()

    def abort(self) -> None:
        """Ends the calls that are under way; the queue has failed."""
        for call in list(self._running.values()):
            call.cancel()

    def join(self) -> None:
        """Waits for the threads; the queue is over."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        channel, store = self._target.open(streams=True, bulk=True), Store()
        stub = ArtifactServiceStub(channel)
        try:
            while (batch := self.queue.take()) is not None:
                self._from_store(store, batch)
                self._from_server(stub, batch)
                self.queue.done()
        except BaseException as error:  # the thread that waits raises it
            self.queue.fail(error)
        finally:
            channel.close()
            store.close()

    def _from_server(self, stub: ArtifactServiceStub, batch: Batch) -> None:
        for sink in batch.sinks:
            sink.trust()  # the server has compared it when it read it
        patience = Patience(self._patience)
        while (left := batch.left()) and not self.queue.is_over:
            try:
                self._stream(stub, left, patience)
                continue
            except grpc.RpcError as error:
                self._lose(error, patience)
            finally:
                for sink in left:
                    sink.pause()
            self.queue.pause(patience.pause())

    def _stream(self, stub: ArtifactServiceStub, left: list[Sink], patience: Patience) -> None:
        """Receives what is left, or the beginning of it."""
        request = v1.DownloadBlobsRequest(parent=self._artifact)
        for sink in left:
            request.ranges.add(digest=sink.blob.digest, offset=sink.received)
        call = stub.DownloadBlobs(request, metadata=self._target.metadata)
        self._running[threading.current_thread()] = call
        is_empty = True
        try:
            for response in call:
                pieces = response.pieces
                done = sum(left[each.range].take(each.offset, each.data) for each in pieces)
                self._meter.add(done=done, moved=sum(len(each.data) for each in pieces))
                patience.progress()
                is_empty = False
        finally:
            call.cancel()
        if is_empty:
            raise refusals.damaged(f"the server sent nothing of blob {left[0].blob.digest}")

    def _lose(self, error: grpc.RpcError, patience: Patience) -> None:
        """Raises what trying again cannot cure."""
        found = from_rpc(error, self._target.address)
        busy = isinstance(found, ResourceExhausted) and found.retry_after is not None
        lost = isinstance(found, Unavailable) or is_connection_loss(error)
        if patience.is_over() or not (busy or lost):
            raise found from error

    def _from_store(self, store: Store, batch: Batch) -> None:
        """Receives what is large from the store itself; the rest is left to the server."""
        wanted = [each for each in batch.sinks if each.size >= _DIRECT][:_MOST_SIGNED]
        if not (self._direct and wanted):
            return
        digests = [each.blob.digest for each in wanted]
        try:
            signed = retrying(
                lambda: self._calls.sign_blob_downloads(self._artifact, digests), self._patience
            )
        except Unimplemented:
            self._direct = False
            return
        for sink, request in zip(wanted, signed, strict=True):
            try:
                self._get(store, sink, request)
            except (StoreFailed, StoreLost):
                self._direct = False  # the server takes up what is left
            finally:
                sink.pause()
            if not self._direct or self.queue.is_over:
                return

    def _get(self, store: Store, sink: Sink, request: v1.SignedRequest) -> None:
        for data in store.get(request, sink.received):
            self._meter.add(done=sink.take(sink.received, data), moved=len(data))
