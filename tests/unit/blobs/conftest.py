"""Blobs in a real metastore and a folder."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from subgrpc.artifacts import StoreSettings
from subgrpc.artifacts.filestore import FileStore
from subgrpc.metastore import Metastore
from subgrpc.services.blobs import Spool, Storage
from subgrpc.v1.artifact_service_pb2 import BlobPiece


class SmallPacks(FileStore):
    """Packs are full after 64 KiB, of blobs of less than 16."""

    pack_below = 16 << 10
    pack_size = 64 << 10


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(f"{size} {seed}").randbytes(size)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pieces(data: bytes, size: int = 1 << 20) -> list[BlobPiece]:
    """A blob in pieces of a size."""
    return [
        BlobPiece(
            digest=digest(data),
            size_bytes=len(data),
            offset=offset,
            data=data[offset : offset + size],
        )
        for offset in range(0, len(data), size)
    ]


@pytest.fixture
async def metastore(tmp_path: Path) -> AsyncIterator[Metastore]:
    opened = await Metastore.open(tmp_path / "data")
    yield opened
    await opened.close()


@pytest.fixture
def artifact_store(tmp_path: Path) -> FileStore:
    folder = tmp_path / "store"
    folder.mkdir()
    return SmallPacks.from_settings(StoreSettings(name="files", url=folder.as_uri()))


@pytest.fixture
async def storage(
    tmp_path: Path, metastore: Metastore, artifact_store: FileStore
) -> AsyncIterator[Storage]:
    made = Storage(metastore, artifact_store, Spool(tmp_path / "spool"))
    yield made
    await made.close()
