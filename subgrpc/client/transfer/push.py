"""Pushing files: what the server lacks is sent, then the artifact is created.

Everything may be interrupted and repeated: a second push finds what the first has sent.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from subgrpc.client.calls import Calls
from subgrpc.client.channel import Target
from subgrpc.client.transfer import blobs, cutting, manifest
from subgrpc.client.transfer.blobs import Blob
from subgrpc.client.transfer.creation import create
from subgrpc.client.transfer.cutting import Cut, Piece
from subgrpc.client.transfer.direct_upload import DirectUploader
from subgrpc.client.transfer.progress import Meter, OnProgress
from subgrpc.client.transfer.queue import TransferQueue
from subgrpc.client.transfer.results import Pushed, PushOptions
from subgrpc.client.transfer.retrying import retrying
from subgrpc.client.transfer.scan import LocalFile, scan
from subgrpc.client.transfer.upload import BlobQueue, Uploader
from subgrpc.v1.artifact_service_pb2 import ArtifactFile

_WORKERS = min(4, os.cpu_count() or 1)
_KEPT = 256 << 10
"""Files up to this size, in bytes, stay in memory from their hashing to their sending."""
_BATCH_FILES, _BATCH_BYTES = 64, 8 << 20
_ASK_BLOBS, _ASK_BYTES = 1000, 8 << 20
"""When the server is asked what it lacks."""
_MOST_ASKED = 10_000
_TURN = 0.1
"""Seconds for which nothing is told to whoever watches."""


class Push:
    """One push.

    Args:
        calls: the server.
        target: the same, for streams.
        options: what is pushed.
        listener: told how far it is.
        stop: when set, by another thread, it ends with `InterruptedError`.
    """

    def __init__(
        self,
        calls: Calls,
        target: Target,
        options: PushOptions,
        listener: OnProgress | None,
        stop: threading.Event,
    ) -> None:
        self._calls, self._options, self._stop = calls, options, stop
        self._meter = Meter(listener)
        self._queue: BlobQueue = TransferQueue(16 << 20, 4000)
        self._uploader = Uploader(
            target,
            options.parent,
            self._queue,
            self._meter,
            patience=options.patience,
            streams=options.streams,
        )
        self._direct = DirectUploader(
            calls, options.parent, self._instead, self._meter, patience=options.patience
        )
        self._known: dict[str, Blob] = {}
        self._pending: list[Blob] = []
        self._pending_bytes = 0
        self._touched = time.monotonic()
        self._is_touching = False
        self._files: dict[str, LocalFile] = {}

    def run(self) -> Pushed:
        """Performs it.

        Raises:
            SubgrpcError: it cannot be done.
            OSError: a file cannot be read.
            InterruptedError: it was stopped.
        """
        self._meter.phase("scanning")
        # Who has no server, or may not push, is told at once.
        self._calls.find_missing_blobs((), parent=self._options.parent)
        found = scan(self._options.sources, self._options.exclude)
        self._files = {each.path: each for each in found}
        self._meter.progress.total_files = len(found)
        self._meter.progress.total_bytes = sum(each.size for each in found)
        self._meter.phase("sending")
        try:
            entries = self._send_all(found)
            self._meter.phase("creating")
            done = create(self._calls, self._options, entries, self._send_again)
        except BaseException as error:
            self._direct.queue.fail(error)
            self._queue.fail(error)
            self._uploader.abort()
            raise
        finally:
            self._direct.queue.close()
            self._queue.close()
            self._uploader.join()
        self._meter.phase("done")
        return Pushed(done.artifact, self._meter.progress.moved_bytes, done.existed)

    def _send_all(self, found: list[LocalFile]) -> list[ArtifactFile]:
        """Sends what the server lacks of some files; returns their entries."""
        plain = [each for each in found if not each.link_target]
        entries = [manifest.link(each) for each in found if each.link_target]
        with ThreadPoolExecutor(_WORKERS, "hash") as workers:
            entries.extend(manifest.entry(cut) for cut in self._cuts(plain, workers))
        self._ask()
        self._wait()
        for file in plain:
            Blob("", 0, file, 0).check()
        return sorted(entries, key=lambda each: each.path)

    def _cuts(self, found: list[LocalFile], workers: ThreadPoolExecutor) -> Iterator[Cut]:
        """Reads files; their pieces are sent as they are found."""
        running: deque[Future[list[Cut]]] = deque()
        for batch in _batches(found):
            if batch[0].size <= cutting.WHOLE:
                running.append(workers.submit(_cut_batch, batch))
            if len(running) > _WORKERS or batch[0].size > cutting.WHOLE:
                while running and (len(running) > _WORKERS or batch[0].size > cutting.WHOLE):
                    yield from self._offer_all(running.popleft().result())
            if batch[0].size > cutting.WHOLE:
                for each in cutting.cut_large(batch[0], workers):
                    if isinstance(each, Cut):
                        yield each
                    else:
                        self._offer(batch[0], each)
        while running:
            yield from self._offer_all(running.popleft().result())

    def _offer_all(self, cuts: list[Cut]) -> list[Cut]:
        for cut in cuts:
            for piece in cut.pieces:
                self._offer(cut.file, piece)
        return cuts

    def _offer(self, file: LocalFile, piece: Piece) -> None:
        """Notes a piece; now and then the server is asked which of them it lacks."""
        self._meter.add(read=piece.size)
        if piece.digest in self._known:
            self._meter.add(done=piece.size)
            return
        blob = self._known[piece.digest] = blobs.of_piece(file, piece)
        self._pending.append(blob)
        self._pending_bytes += piece.size
        if len(self._pending) >= _ASK_BLOBS or self._pending_bytes >= _ASK_BYTES:
            self._ask()

    def _ask(self) -> None:
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        missing = self._missing(pending)
        for blob in pending:
            if blob.digest not in missing:
                blob.settle()
                self._meter.add(done=blob.size)
            elif missing[blob.digest] and self._direct.is_usable:
                self._put(self._direct.queue, blob)
                self._direct.grow()
            else:
                self._send(blob)
        self._turn()

    def _touch(self) -> None:
        """Asks about everything that is there: so it is kept; what is not any more is sent."""
        settled = [each for each in self._known.values() if each.is_settled]
        if missing := self._missing(settled):
            self._uploader.renew()
        for digest in missing:
            self._known[digest].is_settled = False
            self._send(self._known[digest])
        self._touched = time.monotonic()

    def _missing(self, some: Iterable[Blob]) -> dict[str, bool]:
        """The digests that the server lacks, each with whether it can be sent to the store."""
        found: dict[str, bool] = {}
        ahead = iter(some)
        while asked := list(islice(ahead, _MOST_ASKED)):
            sizes = {each.digest: each.size for each in asked}
            answer = retrying(
                lambda sizes=sizes: self._calls.find_missing_blobs(  # type: ignore[misc]
                    sizes, parent=self._options.parent
                ),
                self._options.patience,
            )
            least = answer.sign_from_bytes if self._options.direct else 0
            for each in answer.missing:
                found[each] = bool(least) and sizes[each] >= least
        return found

    def _send(self, blob: Blob) -> None:
        """Lets the streams send a blob."""
        self._put(self._queue, blob)
        self._uploader.grow()

    def _instead(self, blob: Blob) -> None:
        """What the store did not take goes to the server; in another thread."""
        while not self._queue.put(blob, _TURN):
            pass
        self._uploader.grow()

    def _put(self, queue: BlobQueue, blob: Blob) -> None:
        while not queue.put(blob, _TURN):
            self._turn()

    def _wait(self) -> None:
        """Waits until all that was found missing is there."""
        for queue in (self._direct.queue, self._queue):  # what the first refuses takes the second
            while not queue.wait_done(_TURN):
                self._turn()

    def _send_again(self, entries: Sequence[ArtifactFile]) -> None:
        """Sends what the server lost of some files since it was sent."""
        self._uploader.renew()
        found = {blob.digest: blob for each in entries for blob in self._blobs_of(each)}
        for digest in self._missing(found.values()):
            self._send(found[digest])
        self._wait()

    def _blobs_of(self, entry: ArtifactFile) -> Iterator[Blob]:
        return blobs.of_entry(self._files[entry.path], entry)

    def _turn(self) -> None:
        """What has to be done now and then, in the thread of the caller."""
        if self._stop.is_set():
            raise InterruptedError("the push was stopped")
        self._meter.tell()
        if time.monotonic() - self._touched > self._options.touch and not self._is_touching:
            self._is_touching = True
            self._touch()
            self._is_touching = False


def _batches(found: list[LocalFile]) -> Iterator[list[LocalFile]]:
    """Small files together, large ones alone."""
    batch: list[LocalFile] = []
    size = 0
    for file in found:
        if batch and (
            file.size > cutting.WHOLE
            or len(batch) == _BATCH_FILES
            or size + file.size > _BATCH_BYTES
        ):
            yield batch
            batch, size = [], 0
        if file.size > cutting.WHOLE:
            yield [file]
            continue
        batch.append(file)
        size += file.size
    if batch:
        yield batch


def _cut_batch(batch: list[LocalFile]) -> list[Cut]:
    return [cutting.cut_small(file, _KEPT) for file in batch]
