"""Puts the complete journals that this server keeps into the artifact store.

Each file is cut into pieces, which go to the store in packs, as small blobs of artifacts do: one
object holds the logs of many short attempts, a long one has many objects. Nothing is recorded
before all of it is durable there, and then everything at once: whatever is interrupted is done
again, and what was put for nothing is collected as garbage.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
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
IN_FLIGHT: Final = 2
"""Packs that are on their way to the store at the same time, while another one is filled."""

_Piece = tuple[Path, int, int, bytes]

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
        folders = [self._journals.folder(*key) for key in keys]
        found = dict(zip(keys, await self._storage.disk(_looked_at, folders), strict=True))
        for key, problem in found.items():
            if isinstance(problem, Exception):
                await self._note(key, problem)
        manifests = {key: each for key, each in found.items() if isinstance(each, Manifest)}
        await self._put(manifests)
        faults.point("archive.stored")
        done = await asyncio.gather(*(self._record(*each) for each in manifests.items()))
        faults.point("archive.recorded")
        await self._cache.added(sum(each.size for each in manifests.values()))
        return sum(done)

    async def _note(self, key: tuple[str, int], problem: Exception) -> None:
        """A journal is damaged, or gone: it is tried again after a restart."""
        self._damaged.add(key)
        if await self._metastore.attempt(*key) is not None:  # else it was deleted meanwhile
            _log.error("archive.damaged", uid=key[0], attempt=key[1], error=str(problem))

    async def _put(self, manifests: Mapping[tuple[str, int], Manifest]) -> None:
        """Puts the files of journals into the store, as far as it does not have them."""
        digests = {digest for each in manifests.values() for digest in each.digests}
        there = set(await self._storage.want(digests))
        pieces = (
            piece
            for key, manifest in manifests.items()
            for piece in _pieces(manifest, self._journals.folder(*key))
        )
        puts: set[asyncio.Task[None]] = set()
        while (pack := await self._storage.disk(_filled, self._storage, pieces, there)) is not None:
            sha256 = await self._storage.disk(pack.seal)
            keeping = self._storage.keep(pack.path, pack.size, sha256, pack.content)
            puts.add(self._storage.spawn(keeping))
            if len(puts) >= IN_FLIGHT:
                done, puts = await asyncio.wait(puts, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    each.result()
        await asyncio.gather(*puts)

    async def _record(self, key: tuple[str, int], manifest: Manifest) -> bool:
        log = await self._metastore.logs.get(*key)
        if log is None or log.state != LogState.PENDING:
            return False  # deleted meanwhile
        try:
            return await self._metastore.write_ordered(lambda tx: _archived(tx, log, manifest))
        except Aborted as error:
            _log.warning("archive.again", uid=key[0], attempt=key[1], error=error.message)
            return False


def _archived(tx: Transaction, log: Log, manifest: Manifest) -> bool:
    digests = b"".join(manifest.digests)
    return logs.archive(tx, log, manifest.size, digests, manifest.to_bytes())


def _pieces(manifest: Manifest, folder: Path) -> Iterator[_Piece]:
    """Yields each piece: its file, where it starts there, its size, its digest."""
    for file in manifest.files(folder):
        for index, digest in enumerate(file.digests):
            start = index * file.piece
            yield file.path, start, min(file.piece, file.size - start), digest


def _looked_at(folders: Sequence[Path]) -> list[Manifest | Exception]:
    """What journals consist of, or what is wrong with them; another error of the disk is raised."""
    found: list[Manifest | Exception] = []
    for folder in folders:
        try:
            found.append(_surveyed(folder))
        except (DataLoss, FileNotFoundError) as error:
            found.append(error)
        except OSError as error:
            raise _unreadable(folder, error) from error
    return found


def _surveyed(folder: Path) -> Manifest:
    """What a journal consists of, with digests: all of it is read."""
    manifest = survey(folder)
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
    return manifest.with_digests(tuple(found))


def _filled(storage: Storage, pieces: Iterator[_Piece], there: set[bytes]) -> Pack | None:
    """A pack of the next pieces that are not `there`, which it notes as such; None: no more."""
    pack: Pack | None = None
    for path, start, size, digest in pieces:
        if digest in there:
            continue
        if pack is None:
            pack = storage.spool.pack()
        try:
            pack.add([(digest, _read(path, start, size, digest))])
        except BaseException:
            pack.discard()
            raise
        there.add(digest)
        if pack.size >= storage.store.pack_size:
            break
    return pack


def _read(path: Path, start: int, size: int, digest: bytes) -> bytes:
    try:
        with path.open("rb", buffering=0) as content:
            content.seek(start)
            piece = content.read(size)
    except OSError as error:  # deleted meanwhile, perhaps
        raise _unreadable(path, error) from error
    if hashlib.sha256(piece).digest() != digest:
        raise DataLoss(f"{path} is not what it was a moment ago")
    return piece


def _unreadable(path: Path, error: OSError) -> Unavailable:
    text = f"the journal in {path} cannot be read: {error.strerror or error}"
    return Unavailable(text, reason="LOG_STORE_UNAVAILABLE", retry_after=1.0)
