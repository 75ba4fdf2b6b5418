"""The journals on this disk of which the artifact store has the originals: a cache.

Two kinds of them take room: journals that this server collected, which stay whole until they are
evicted, and files that were fetched back because somebody read them, which stay until the next
start at most. What was read or ended longest ago goes first.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import structlog

from subgrpc import faults, names
from subgrpc.errors import DataLoss, NotFound, SubgrpcError, Unavailable
from subgrpc.journal import File, JournalReader, JournalStore, Manifest
from subgrpc.metastore import BlobPlace, Metastore, logs
from subgrpc.metastore.logs import LocalLog, Log, LogState
from subgrpc.services.blobs.storage import Span, Storage

IN_USE: Final = 60_000_000
"""µs for which a file that was read is not evicted."""
ROOM: Final = 20
"""When something has to go, a twentieth of the limit is made free: the next ones have room."""
BATCH: Final = 100

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Fetched:
    """A file that was fetched: its size, and when (µs) it was last used."""

    size: int
    time: int


class LogCache:
    """Reads what the store has of logs; for the event loop."""

    def __init__(
        self, storage: Storage, metastore: Metastore, journals: JournalStore, limit: int
    ) -> None:
        """`limit`: bytes; more is kept only while it is in use."""
        self._storage = storage
        self._metastore = metastore
        self._journals = journals
        self._limit = limit
        self._server = metastore.server_id if metastore.shared else ""
        self._local: int | None = None
        """Bytes of the journals that this server collected, at most: what is deleted counts on."""
        self._fetched: dict[Path, _Fetched] = {}
        self._under_way: dict[Path, asyncio.Task[None]] = {}
        self._trimming = asyncio.Lock()

    async def start(self) -> None:
        """Forgets what an earlier process fetched: nobody knows whether it is on the disk."""
        await asyncio.to_thread(self._journals.forget_fetched)

    async def look(self, uid: str, attempt: int) -> Log | None:
        """What has become of an attempt's complete output; None: it is not complete."""
        return await self._metastore.logs.get(uid, attempt)

    async def is_usable(self) -> bool:
        """Whether this server can use the store, as far as it knows."""
        try:
            await self._storage.ready()
        except SubgrpcError:
            return False
        return True

    def reader(self, log: Log) -> JournalReader:
        """A reader of an archived journal. What is `Absent` when it is used: see `fetch`."""
        key = (log.experiment_uid, log.attempt)
        return self._journals.fetched(*key, self.manifest(log), self._use)

    @staticmethod
    def manifest(log: Log) -> Manifest:
        """What an archived journal consists of."""
        return Manifest.from_bytes(log.body, tuple(log.blobs))

    async def fetch(self, file: File) -> None:
        """Sees to it that a file is there. It is fetched once, however many wait for it.

        Raises:
            SubgrpcError: what the store raises.
            NotFound: LOGS_DELETED, the log is not in the store any more.
            DataLoss: OBJECT_DAMAGED, what the store has is not what was put.
            Unavailable: LOG_STORE_UNAVAILABLE, the disk has no room for it.
        """
        if file.path in self._fetched and file.path.exists():
            return
        task = self._under_way.get(file.path)
        if task is None:
            task = self._under_way[file.path] = self._storage.spawn(self._fetch(file))
            task.add_done_callback(lambda _: self._under_way.pop(file.path))
        await asyncio.shield(task)

    async def added(self, size: int) -> None:
        """Journals of this server's have come into the store, too: they may be evicted now."""
        if self._local is not None:
            self._local += size
        await self.trim()

    async def trim(self) -> None:
        """Evicts what there is no room for. Nothing that is being read goes."""
        async with self._trimming:
            fetched = sum(each.size for each in self._fetched.values())
            if self._local is not None and fetched + self._local <= self._limit:
                return
            self._local = await self._metastore.logs.local_size(self._server)
            over = fetched + self._local - self._limit
            if over > 0:
                await self._evict(over + self._limit // ROOM)

    async def drop_foreign(self) -> None:
        """Removes journals that stand here since before another server took them over.

        Theirs are complete by now; of what still runs nothing is removed.
        """
        if not self._server:
            return
        for uid, attempt in await asyncio.to_thread(self._journals.all):
            log = await self.look(uid, attempt)
            if log is not None and log.server != self._server:
                await asyncio.to_thread(self._journals.evict, uid, attempt)
                _log.info("journal.foreign", uid=uid, attempt=attempt, server=log.server)

    async def drop_expired(self) -> None:
        """Removes all of this server's that has expired, fetched or not."""
        while found := await self._metastore.logs.expired(self._server, BATCH):
            for key in found:
                await self._drop(*key)
        for path in list(self._fetched):
            log = await self.look(path.parent.parent.name, int(path.parent.name))
            if log is None or log.state != LogState.ARCHIVED:
                await self._remove(path)

    async def _evict(self, over: int) -> None:
        """Evicts so many bytes, of both kinds in the order of their times."""
        latest, skip = self._metastore.clock() - IN_USE, 0
        idle = sorted(
            (each.time, path) for path, each in self._fetched.items() if each.time < latest
        )
        local: list[LocalLog] = []
        held = await asyncio.to_thread(self._journals.are_held)
        while over > 0:
            if not local and not held:
                local = await self._metastore.logs.local(self._server, BATCH, skip)
                local.reverse()
            if idle and (not local or idle[0][0] <= local[-1].end_time):
                over -= await self._remove(idle.pop(0)[1])
            elif local:
                evicted = local.pop()
                if await self._evict_local(evicted):
                    over -= evicted.size
                    self._local = (self._local or 0) - evicted.size
                else:
                    skip += 1
            else:
                return

    async def _evict_local(self, log: LocalLog) -> bool:
        key = (log.experiment_uid, log.attempt)
        if not await asyncio.to_thread(self._journals.evict, *key):
            return False
        faults.point("archive.evicted")
        await self._metastore.write_unversioned(lambda tx: logs.released(tx, *key))
        return True

    async def _drop(self, uid: str, attempt: int) -> None:
        await asyncio.to_thread(self._journals.evict, uid, attempt, force=True)
        await self._metastore.write_unversioned(lambda tx: logs.released(tx, uid, attempt))

    async def _remove(self, path: Path) -> int:
        """Removes a file that was fetched; returns its size."""
        known = self._fetched.pop(path, None)
        with contextlib.suppress(OSError):
            await asyncio.to_thread(path.unlink)
        return 0 if known is None else known.size

    def _use(self, path: Path) -> None:
        known = self._fetched.get(path)
        if known is not None:
            known.time = self._metastore.clock()

    async def _fetch(self, file: File) -> None:
        places = await self._storage.find(set(file.digests))
        if len(places) < len(set(file.digests)):
            raise await self._missing(file.path)
        incoming = await self._storage.disk(_Incoming, file)
        try:
            for span in _spans(file, places):
                await self._receive(span, incoming, file.path)
            await self._storage.disk(incoming.finish)
        finally:
            await self._storage.disk(incoming.close)
        faults.point("archive.fetched")
        self._fetched[file.path] = _Fetched(file.size, self._metastore.clock())
        await self.trim()

    async def _receive(self, span: Span, incoming: _Incoming, path: Path) -> None:
        try:
            async with aclosing(self._storage.read(span)) as pieces:
                async for piece in pieces:
                    await self._storage.disk(incoming.write, piece)
        except NotFound as error:  # the store's: whoever reads must not take it for an expired log
            raise await self._missing(path) from error

    async def _missing(self, path: Path) -> Exception:
        """Why blobs of a log are not there."""
        uid, attempt = path.parent.parent.name, int(path.parent.name)
        log = await self.look(uid, attempt)
        if log is None or log.state != LogState.ARCHIVED:
            return NotFound("the logs were deleted", reason="LOGS_DELETED")
        text = f"the artifact store has lost a part of the log of {uid}, attempt {attempt}"
        return DataLoss(text, reason="OBJECT_DAMAGED")


def _spans(file: File, places: dict[bytes, BlobPlace]) -> list[Span]:
    """Where the pieces of a file are, in order; those that touch are read at once."""
    found: list[Span] = []
    for digest in file.digests:
        place = places[digest]
        last = found[-1] if found else None
        if last and (last.key, last.start + last.length) == (place.key, place.start):
            found[-1] = last._replace(length=last.length + place.size)
        else:
            found.append(Span(place.key, place.start, place.size))
    return found


class _Incoming:
    """A file that is being fetched: it comes under its name once it is whole, and right."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._temporary = file.path.with_name(f".{file.path.name}.{names.new_uid()}")
        self._digests: Sequence[bytes] = file.digests
        self._piece = 0
        self._hash = hashlib.sha256()
        self._filled = 0
        self._size = 0
        try:
            file.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._target: IO[bytes] = self._temporary.open("xb", buffering=0)
        except OSError as error:
            raise _no_room(error) from error

    def write(self, data: bytes) -> None:
        """Appends; every piece that is complete is compared with its digest."""
        try:
            if self._target.write(data) != len(data):
                raise OSError("not all of it was written")
        except OSError as error:
            raise _no_room(error) from error
        self._size += len(data)
        view = memoryview(data)
        while view:
            part = view[: self._file.piece - self._filled]
            self._hash.update(part)
            self._filled += len(part)
            view = view[len(part) :]
            if self._filled == self._file.piece:
                self._compare()

    def finish(self) -> None:
        """Gives the file its name."""
        if self._filled:
            self._compare()
        if self._size != self._file.size or self._piece != len(self._digests):
            raise self._damaged()
        try:
            os.replace(self._temporary, self._file.path)
        except FileNotFoundError as error:
            raise NotFound("the logs were deleted", reason="LOGS_DELETED") from error
        except OSError as error:
            raise _no_room(error) from error

    def close(self) -> None:
        """Gives back what is open, and removes what is unfinished."""
        self._target.close()
        self._temporary.unlink(missing_ok=True)

    def _compare(self) -> None:
        if self._piece >= len(self._digests) or self._hash.digest() != self._digests[self._piece]:
            raise self._damaged()
        self._piece += 1
        self._hash = hashlib.sha256()
        self._filled = 0

    def _damaged(self) -> DataLoss:
        text = f"what the artifact store has of {self._file.path.name} is not what was put there"
        return DataLoss(text, reason="OBJECT_DAMAGED")


def _no_room(error: OSError) -> Unavailable:
    return Unavailable(
        f"a log cannot be fetched from the artifact store: {error.strerror or error}",
        reason="LOG_STORE_UNAVAILABLE",
        retry_after=1.0,
    )
