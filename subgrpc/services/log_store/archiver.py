"""Puts the complete journals that this server keeps into the artifact store.

Each file is cut into pieces, which go to the store in packs, as small blobs of artifacts do: one
object holds the logs of many short attempts, a long one has many objects. Nothing is recorded
before all of it is durable there, and then everything at once: whatever is interrupted is done
again, and what was put for nothing is collected as garbage.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

from subgrpc import faults
from subgrpc.errors import Aborted, DataLoss, Unavailable
from subgrpc.journal import JournalStore, Manifest, survey
from subgrpc.metastore import Metastore, Transaction, logs
from subgrpc.metastore.logs import Log, LogState
from subgrpc.services.blobs import Storage
from subgrpc.services.blobs.spool import Pack
from subgrpc.services.log_store.cache import LogCache

BATCH: Final = 100
"""Attempts whose logs share packs, and are recorded together."""

_log = structlog.get_logger(__name__)


class Archiver:
    """Archives; one call at a time."""

    def __init__(
        self, storage: Storage, metastore: Metastore, journals: JournalStore, cache: LogCache
    ) -> None:
        self._storage = storage
        self._metastore = metastore
        self._journals = journals
        self._cache = cache
        self._server = metastore.server_id if metastore.shared else ""
        self._damaged: set[tuple[str, int]] = set()

    async def archive(self) -> int:
        """Archives some of what waits for it; returns of how many attempts.

        Raises:
            SubgrpcError: the store or the metastore cannot be used now.
        """
        count = BATCH + len(self._damaged)
        waiting = await self._metastore.logs.pending(self._server, count)
        keys = [key for key in waiting if key not in self._damaged][:BATCH]
        if not keys:
            return 0
        await self._storage.ready()
        batch = _Batch(self._storage)
        try:
            surveyed = [(key, await self._add(key, batch)) for key in keys]
            await batch.flush()
        finally:
            batch.discard()
        faults.point("archive.stored")
        done = await asyncio.gather(
            *(self._record(key, manifest) for key, manifest in surveyed if manifest is not None)
        )
        faults.point("archive.recorded")
        await self._cache.added(sum(each.size for _, each in surveyed if each is not None))
        return sum(done)

    async def _add(self, key: tuple[str, int], batch: _Batch) -> Manifest | None:
        """Puts the files of a journal into packs; None: they are damaged, or gone."""
        folder = self._journals.folder(*key)
        try:
            manifest = await self._storage.disk(survey, folder)
            digests = await self._storage.disk(_digests, manifest, folder)
            manifest = manifest.with_digests(digests)
            await batch.add(manifest, folder)
        except (DataLoss, FileNotFoundError) as error:
            self._damaged.add(key)
            if await self._metastore.attempt(*key) is not None:  # else it was deleted meanwhile
                # Tried again after a restart; `admin check` says what is wrong with it.
                _log.error("archive.damaged", uid=key[0], attempt=key[1], error=str(error))
            return None
        except OSError as error:
            text = f"the journal in {folder} cannot be read: {error.strerror or error}"
            raise Unavailable(text, reason="LOG_STORE_UNAVAILABLE", retry_after=1.0) from error
        return manifest

    async def _record(self, key: tuple[str, int], manifest: Manifest) -> bool:
        log = await self._metastore.logs.get(*key)
        if log is None or log.state != LogState.PENDING:
            return False  # deleted meanwhile
        try:
            return await self._metastore.write_ordered(lambda tx: _archived(tx, log, manifest))
        except Aborted as error:
            _log.warning("archive.again", uid=key[0], attempt=key[1], error=error.message)
            return False


class _Batch:
    """Pieces on their way to the store, a pack at a time."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._pack: Pack | None = None
        self._added: set[bytes] = set()

    async def add(self, manifest: Manifest, folder: Path) -> None:
        """Adds the pieces of a journal that the store does not have."""
        there = await self._storage.want(set(manifest.digests))
        for path, start, size, digest in _pieces(manifest, folder):
            if digest in there or digest in self._added:
                continue
            if self._pack is None:
                self._pack = self._storage.spool.pack()
            await self._storage.disk(_copy, self._pack, path, start, size, digest)
            self._added.add(digest)
            if self._pack.size >= self._storage.store.pack_size:
                await self.flush()

    async def flush(self) -> None:
        """Puts the pack into the store.

        Raises:
            SubgrpcError: what the store raises.
        """
        pack = self._pack
        if pack is not None:
            sha256 = await self._storage.disk(pack.seal)
            self._pack = None
            await self._storage.keep(pack.path, pack.size, sha256, pack.content)

    def discard(self) -> None:
        """Removes what was not put."""
        if self._pack is not None:
            self._pack.discard()


def _archived(tx: Transaction, log: Log, manifest: Manifest) -> bool:
    digests = b"".join(manifest.digests)
    return logs.archive(tx, log, manifest.size, digests, manifest.to_bytes())


def _pieces(manifest: Manifest, folder: Path) -> Iterator[tuple[Path, int, int, bytes]]:
    """Yields each piece: its file, where it starts there, its size, its digest."""
    for file in manifest.files(folder):
        for index, digest in enumerate(file.digests):
            start = index * file.piece
            yield file.path, start, min(file.piece, file.size - start), digest


def _digests(manifest: Manifest, folder: Path) -> tuple[bytes, ...]:
    found: list[bytes] = []
    for file in manifest.files(folder):
        with file.path.open("rb", buffering=0) as content:
            left = file.size
            while left:
                piece = content.read(min(file.piece, left))
                if not piece:
                    raise DataLoss(f"{file.path} has {left} bytes less than a moment ago")
                found.append(hashlib.sha256(piece).digest())
                left -= len(piece)
    return tuple(found)


def _copy(pack: Pack, path: Path, start: int, size: int, digest: bytes) -> None:
    with path.open("rb", buffering=0) as content:
        content.seek(start)
        piece = content.read(size)
    if hashlib.sha256(piece).digest() != digest:
        raise DataLoss(f"{path} is not what it was a moment ago")
    pack.add([(digest, piece)])
