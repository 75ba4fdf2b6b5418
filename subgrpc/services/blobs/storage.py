"""The artifact store as the event loop sees it, and the book of what is in it."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import structlog

from subgrpc import names
from subgrpc.artifacts import ArtifactStore
from subgrpc.artifacts.blobs import object_key
from subgrpc.errors import FailedPrecondition
from subgrpc.metastore import BlobPlace, Metastore, blobs
from subgrpc.metastore.blobs import Sealed
from subgrpc.services.blobs.spool import Spool

T = TypeVar("T")

STORE_THREADS: Final = 16
"""Calls of the store at the same time."""
DISK_THREADS: Final = 4
"""Writes to the spool at the same time."""
PUTS: Final = 8
"""Objects that are put at the same time: the other threads are left to readers."""
TOUCHED: Final = 15 * 60 * 1_000_000
"""µs for which an object that was touched needs no other touch: a quarter of the least grace."""


_log = structlog.get_logger(__name__)


MARK: Final = "artifact-store"
"""The setting that says which store it is: it has an object `stores/` and this."""


class Span(NamedTuple):
    """Bytes of an object.

    Attributes:
        key: of the object in the store.
        start: where they begin.
        length: how many.
    """

    key: str
    start: int
    length: int


class Storage:
    """Keeps and reads objects; for the event loop.

    Attributes:
        store: the artifact store; its methods block.
        spool: where blobs wait until they are put.
    """

    def __init__(self, metastore: Metastore, store: ArtifactStore, spool: Spool) -> None:
        self.store = store
        self.spool = spool
        self._metastore = metastore
        self._store_threads = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
        self._disk_threads = ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="spool")
        self._puts = asyncio.Semaphore(PUTS)
        self._tasks: set[asyncio.Task[None]] = set()
        self.signs = False
        """Whether the store has signed requests; known once it is `ready`."""
        self._ready = False
        self._looking = asyncio.Lock()

    async def ready(self) -> None:
        """Sees to it that the store can be used, and is this control plane's; looks only once.

        Raises:
            FailedPrecondition: STORE_FOREIGN: the control plane keeps its artifacts elsewhere.
            SubgrpcError: why the store cannot be used now.
        """
        if self._ready:
            return
        async with self._looking:
            if not self._ready:
                await self.call(self.store.check)
                await self._recognise()
                self.signs = await self.call(_signs, self.store)
                self._ready = True
                _log.info("store.ready", store=self.store.name, signs=self.signs)

    async def _recognise(self) -> None:
        """Compares the store's mark with the metastore's; a new control plane makes one."""
        mark = await self._metastore.setting(MARK)
        if mark is None:
            made = names.new_uid()
            await self.call(_put_mark, self.store, made)
            await self._metastore.write_ordered(lambda tx: tx.settle(MARK, made))
            mark = await self._metastore.setting(MARK)
        if await self.call(self.store.stat, f"stores/{mark}") is None:
            text = (
                f"the artifact store {self.store.name!r} is not the one in which this control "
                "plane keeps its artifacts: give every server the same --artifacts"
            )
            facts = {"store": self.store.name, "mark": mark or ""}
            raise FailedPrecondition(text, reason="STORE_FOREIGN", metadata=facts)

    async def close(self) -> None:
        """Waits for what is on its way to the store, and closes it."""
        await self.settled()
        await asyncio.to_thread(self._store_threads.shutdown)
        await asyncio.to_thread(self._disk_threads.shutdown)
        await asyncio.to_thread(self.store.close)

    async def settled(self) -> None:
        """Waits until nothing is on its way to the store."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Runs a blocking call of the store in one of its threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._store_threads, partial(function, *arguments))

    async def disk(self, function: Callable[..., T], *arguments: object) -> T:
        """Runs what reads or writes the spool in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._disk_threads, partial(function, *arguments))

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Starts what goes on though nobody may wait for it any more; `close` does."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def keep(self, source: Path, size: int, sha256: bytes, content: Sequence[Sealed]) -> None:
        """Puts a file of the spool into the store as an object; its blobs are there then.

        Args:
            source: the file; it is gone afterwards.
            size: its size.
            sha256: its digest, which was just computed.
            content: the blobs in it.

        Raises:
            SubgrpcError: what the store raises; the file is gone all the same.
            Aborted: OBJECT_CONDEMNED: it took longer than the collector waits.
        """
        try:
            uid = await self.reserve(sha256, size)
            async with self._puts:
                put = partial(self.store.put, take=True)
                await self.call(put, object_key(sha256, uid), source, size, sha256)
            await self.publish(uid, content)
        finally:
            await self.disk(partial(source.unlink, missing_ok=True))

    async def reserve(self, sha256: bytes, size: int) -> str:
        """Registers an object that is about to be put; returns its id."""
        await self.ready()
        uid = names.new_uid()
        await self._metastore.write_ordered(lambda tx: blobs.reserve(tx, uid, sha256, size))
        return uid

    async def publish(self, object_id: str, content: Sequence[Sealed]) -> None:
        """Makes the blobs of an object known that is in the store.

        Raises:
            Aborted: OBJECT_CONDEMNED.
        """
        await self._metastore.write_ordered(lambda tx: blobs.publish(tx, object_id, content))

    async def find(self, digests: Collection[bytes]) -> dict[bytes, BlobPlace]:
        """Where blobs are, by digest; those that are not there are left out."""
        return await self._metastore.blobs(digests)

    async def want(self, digests: Collection[bytes]) -> dict[bytes, BlobPlace]:
        """As `find`; what is there stays for a while, also if nothing needs it."""
        await self.ready()
        found = await self.find(digests)
        objects = {place.object_id for place in found.values()}
        if objects:
            await self._metastore.write_ordered(
                lambda tx: blobs.touch(tx, objects, tx.now - TOUCHED)
            )
        return found

    async def read(self, span: Span) -> AsyncGenerator[bytes, None]:
        """Yields bytes of an object, read one piece ahead.

        Raises:
            SubgrpcError: what the store raises; DataLoss OBJECT_DAMAGED if there are fewer.
        """
        await self.ready()
        pieces: Iterator[bytes] = self.store.get(span.key, span.start, span.length)
        following = asyncio.ensure_future(self.call(next, pieces, b""))
        try:
            while piece := await following:
                following = asyncio.ensure_future(self.call(next, pieces, b""))
                yield piece
        finally:
            # A generator that runs in a thread cannot be closed before it has come back.
            await asyncio.wait([following])
            close = getattr(pieces, "close", None)
            if close is not None:
                await self.call(close)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("store.failed", store=self.store.name, error=str(error))


def _signs(store: ArtifactStore) -> bool:
    """Whether a store has signed requests."""
    key = object_key(bytes(32), names.new_uid())
    signed = store.sign_put(key, store.pack_below, bytes(32), timedelta(minutes=1))
    return signed is not None


def _put_mark(store: ArtifactStore, mark: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "mark")
        source.write_bytes(mark.encode())
        store.put(f"stores/{mark}", source, len(mark), hashlib.sha256(mark.encode()).digest())
