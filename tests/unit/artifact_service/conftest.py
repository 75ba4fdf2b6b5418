"""Servers' parts that are about artifacts, on a real metastore and a folder as their store."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from subgrpc.artifacts import StoreSettings
from subgrpc.artifacts.filestore import FileStore
from subgrpc.metastore import Metastore, artifacts
from subgrpc.services.artifacts.changes import Wanted
from subgrpc.services.artifacts.garbage import Collector
from subgrpc.services.artifacts.making import Making
from subgrpc.services.artifacts.verifying import Verifying
from subgrpc.services.blobs import Intake, Piece, Spool, Storage
from subgrpc.services.requests import Once
from subgrpc.v1.artifact_service_pb2 import Artifact, ArtifactFile, BlobPiece, Chunk

SERVERS = 2
"""On PostgreSQL; with SQLite there is one."""


class SmallPacks(FileStore):
    """Packs are full after 64 KiB, of blobs of less than 16."""

    pack_below = 16 << 10
    pack_size = 64 << 10


@dataclass
class Parts:
    """What one server has for artifacts."""

    metastore: Metastore
    storage: Storage
    making: Making
    collector: Collector

    async def upload(self, blobs: Iterable[bytes]) -> None:
        """Sends blobs as a client does."""
        async with Intake(self.storage) as intake:
            for data in blobs:
                piece = BlobPiece(digest=digest(data), size_bytes=len(data), data=data)
                await intake.take([Piece.of(piece)])

    async def create(
        self, files: Sequence[ArtifactFile], artifact_id: str = "", *, ready: bool = True
    ) -> Artifact:
        """An artifact of these files."""
        once: Once[Artifact] = Once("ann", "", "", b"", artifacts.by_uid)
        wanted = Wanted(team="default", creator="ann", artifact_id=artifact_id)
        made = await self.making.create(wanted, files, once, ready=ready)
        assert made is not None
        return made

    async def delete(self, artifact: Artifact) -> None:
        await self.metastore.write_ordered(lambda tx: artifacts.delete(tx, artifact))

    async def damaged(self, artifact: Artifact) -> list[str]:
        """What is wrong with an artifact, of all its files."""
        verifying, found = Verifying(self.metastore, self.storage), list[str]()
        async for each in verifying.verify(artifact.uid):
            found += [f"{artifact.name}: {one.path}: {one.message}" for one in each.damaged]
            last = each.file_count
        assert last == artifact.file_count
        return found


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(f"{size} {seed}").randbytes(size)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file(path: str, *chunks: bytes) -> ArtifactFile:
    """A file of these chunks."""
    return ArtifactFile(
        path=path,
        size_bytes=sum(map(len, chunks)),
        sha256=digest(b"".join(chunks)),
        chunks=[Chunk(digest=digest(each), size_bytes=len(each)) for each in chunks],
    )


def make_store(folder: Path) -> FileStore:
    return SmallPacks.from_settings(StoreSettings(name="files", url=folder.as_uri()))


@pytest.fixture
async def servers(tmp_path: Path, databases: Any) -> AsyncIterator[list[Parts]]:
    """Servers on one metastore and one store: one with SQLite, several with PostgreSQL."""
    shared = tmp_path / "store"
    shared.mkdir()
    database = databases.of(tmp_path / "0")
    made = []
    for number in range(SERVERS if database else 1):
        metastore = await Metastore.open(tmp_path / str(number), database=database)
        spool = Spool(tmp_path / f"spool{number}")
        storage = Storage(metastore, make_store(shared), spool)
        collector = Collector(metastore, storage)
        made.append(Parts(metastore, storage, Making(metastore), collector))
    yield made
    for each in made:
        await each.storage.close()
        await each.metastore.close()


@pytest.fixture
def parts(servers: list[Parts]) -> Parts:
    return servers[0]
