"""Blobs come in pieces, are compared with their digests, and are told complete when durable."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subgrpc.artifacts import StoreSettings
from subgrpc.artifacts.filestore import FileStore
from subgrpc.errors import FailedPrecondition, InvalidArgument, OutOfRange, ResourceExhausted
from subgrpc.metastore import Metastore
from subgrpc.metastore.blobs import condemn
from subgrpc.services.blobs import Intake, Piece, Spool, Storage
from subgrpc.services.blobs.spool import Pack
from subgrpc.services.blobs.storage import DISK_THREADS, Span
from subgrpc.v1.artifact_service_pb2 import BlobPiece

from .conftest import SmallPacks, content, digest, pieces


async def kept(storage: Storage, data: bytes) -> bytes | None:
    """What the store returns for a blob; None: it is not there."""
    found = await storage.find([bytes.fromhex(digest(data))])
    if not found:
        return None
    [place] = found.values()
    span = Span(place.key, place.start, place.size)
    return b"".join([piece async for piece in storage.read(span)])


async def sent(storage: Storage, *batches: list[BlobPiece]) -> list[str]:
    """Uploads; returns the digests that were told complete."""
    intake = Intake(storage)
    async with intake:
        for batch in batches:
            await intake.take([Piece.of(each) for each in batch])
    return [each.digest for each in intake.told() if each.complete]


async def broken(storage: Storage, *batches: list[BlobPiece]) -> None:
    """Uploads over a connection that breaks at the end."""
    with contextlib.suppress(ConnectionError):
        async with Intake(storage) as intake:
            for batch in batches:
                await intake.take([Piece.of(each) for each in batch])
            raise ConnectionError


async def test_small_blobs_share_objects(storage: Storage, artifact_store: FileStore) -> None:
    """Promise: hundreds of small blobs need few objects, and each is read back as it was."""
    blobs = [content(size, size) for size in range(1, 301)]
    told = await sent(storage, *map(pieces, blobs))
    assert sorted(told) == sorted(map(digest, blobs))
    assert [await kept(storage, each) for each in blobs] == blobs
    assert len(list(artifact_store.list("objects/"))) == 1


async def test_a_large_blob_is_an_object_of_its_own(
    storage: Storage, artifact_store: FileStore
) -> None:
    """Promise: a blob in many pieces is put together; what has arrived is told on the way."""
    blob = content(10_000_000)
    intake = Intake(storage)
    async with intake:
        for piece in pieces(blob, 1_000_000):
            await intake.take([Piece.of(piece)])
    told = [(each.committed_size, each.complete) for each in intake.told()]
    assert told == [(5_000_000, False), (9_000_000, False), (10_000_000, True)]
    assert await kept(storage, blob) == blob
    [stored] = artifact_store.list("objects/")
    assert stored.key.startswith(f"objects/{digest(blob)[:2]}/{digest(blob)}.")


async def test_what_is_there_is_not_kept_twice(storage: Storage, artifact_store: FileStore) -> None:
    """Promise: a blob that is there is told complete at once, and leaves no second object."""
    blobs = [content(100), content(50_000)]
    first = await sent(storage, *map(pieces, blobs))
    again = await sent(storage, *map(pieces, blobs))
    assert sorted(again) == sorted(first)
    assert len(list(artifact_store.list("objects/"))) == 2


async def test_what_went_meanwhile_can_be_sent_again(
    storage: Storage, metastore: Metastore
) -> None:
    """Promise: in one upload, too, a blob that was given up since is taken and told again."""
    blob = content(50_000)
    intake = Intake(storage)
    async with intake:
        for _ in range(2):
            await intake.take([Piece.of(each) for each in pieces(blob)])
            await intake.finish()
            assert [each.complete for each in intake.told()] == [True]
            await metastore.write_ordered(lambda tx: condemn(tx, tx.now + 1))
            assert await kept(storage, blob) is None


async def test_a_broken_upload_goes_on_where_it_stopped(storage: Storage) -> None:
    """Promise: what has arrived of a blob is there for the next upload, with only the rest."""
    blob = content(90_000)
    parts = pieces(blob, 10_000)
    await broken(storage, parts[:4])
    assert storage.spool.received(bytes.fromhex(digest(blob))) == 40_000
    with pytest.raises(OutOfRange) as refused:
        await sent(storage, parts[3:])
    assert refused.value.reason == "BLOB_OFFSET"
    assert refused.value.metadata["committedSize"] == "40000"
    assert await sent(storage, parts[4:]) == [digest(blob)]
    assert await kept(storage, blob) == blob


async def test_what_was_whole_is_kept_though_the_upload_breaks(
    storage: Storage, tmp_path: Path
) -> None:
    """Promise: blobs that had arrived when the connection broke need not be sent again."""
    blobs = [content(500, number) for number in range(5)]
    await broken(storage, [each for blob in blobs for each in pieces(blob)])
    await storage.settled()
    assert [await kept(storage, each) for each in blobs] == blobs
    assert list((tmp_path / "spool").iterdir()) == []


async def test_a_wrong_digest_is_refused_and_forgotten(storage: Storage, tmp_path: Path) -> None:
    """Promise: content of another digest is never kept, small or large, and can be sent rightly."""
    for right in (content(300), content(30_000)):
        wrong = bytes(reversed(right))
        lies = pieces(wrong, 20_000)
        for each in lies:
            each.digest = digest(right)
        with pytest.raises(InvalidArgument) as refused:
            await sent(storage, lies)
        assert refused.value.reason == "DIGEST_MISMATCH"
        assert await kept(storage, right) is None
        assert list((tmp_path / "spool").iterdir()) == []
        assert await sent(storage, pieces(right, 20_000)) == [digest(right)]


@pytest.mark.parametrize(
    ("piece", "field"),
    [
        (BlobPiece(digest="abc", size_bytes=3, data=b"abc"), "pieces[0].digest"),
        (BlobPiece(digest="A" * 64, size_bytes=3, data=b"abc"), "pieces[0].digest"),
        (BlobPiece(digest="a" * 64, size_bytes=0), "pieces[0].size_bytes"),
        (BlobPiece(digest="a" * 64, size_bytes=-1), "pieces[0].size_bytes"),
        (BlobPiece(digest="a" * 64, size_bytes=(64 << 20) + 1), "pieces[0].size_bytes"),
        (BlobPiece(digest="a" * 64, size_bytes=2, data=b"abc"), "pieces[0].offset"),
        (BlobPiece(digest="a" * 64, size_bytes=3, offset=-1, data=b"a"), "pieces[0].offset"),
        (BlobPiece(digest="a" * 64, size_bytes=3, offset=2**62, data=b"a"), "pieces[0].offset"),
    ],
)
async def test_nonsense_is_refused(storage: Storage, piece: BlobPiece, field: str) -> None:
    """Promise: what cannot be a piece of a blob is refused, with the field that is wrong."""
    with pytest.raises(InvalidArgument) as refused:
        await sent(storage, [piece])
    assert [each.field for each in refused.value.violations] == [field]


async def test_two_uploads_of_one_blob_at_once(storage: Storage) -> None:
    """Promise: they do not disturb each other; the blob is there, once."""
    blob = content(60_000)
    parts = pieces(blob, 10_000)
    async with Intake(storage) as one, Intake(storage) as other:
        for part in parts:
            await one.take([Piece.of(part)])
            await other.take([Piece.of(part)])
    assert await kept(storage, blob) == blob


async def test_another_size_for_one_digest_is_refused(storage: Storage) -> None:
    """Promise: pieces that contradict each other about the blob's size are refused."""
    blob = content(60_000)
    first, second = pieces(blob, 40_000)
    second.size_bytes = 60_001
    with pytest.raises(InvalidArgument) as refused:
        await sent(storage, [first], [second])
    assert refused.value.reason == "DIGEST_MISMATCH"


async def test_a_store_that_fails_is_told(storage: Storage, tmp_path: Path) -> None:
    """Promise: what the store raises reaches the upload; nothing is told complete."""
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    with pytest.raises(FailedPrecondition) as refused:
        await sent(storage, pieces(content(50_000)))
    assert refused.value.reason == "STORE_MISCONFIGURED"
    assert await kept(storage, content(50_000)) is None
    (tmp_path / "elsewhere").rename(tmp_path / "store")
    assert await sent(storage, pieces(content(50_000)))


@pytest.mark.thorough
@settings(max_examples=30)
@given(st.data())
def test_any_cut_and_any_break_gives_the_same_bytes(data: st.DataObject) -> None:
    """Promise: however a blob is cut, and wherever its uploads break, it arrives as it is."""

    async def check() -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "store").mkdir()
            metastore = await Metastore.open(folder / "data")
            settings_ = StoreSettings(name="files", url=(folder / "store").as_uri())
            store = SmallPacks.from_settings(settings_)
            storage = Storage(metastore, store, Spool(folder / "spool"))
            blob = content(data.draw(st.integers(1, 50_000)))
            raw = bytes.fromhex(digest(blob))
            for last in (False, False, False, True):
                offset = storage.spool.received(raw) % len(blob)
                cut = data.draw(st.integers(len(blob) // 10 + 1, len(blob)))
                rest = _from(blob, offset, cut)
                count = len(rest) if last else data.draw(st.integers(0, len(rest)))
                batches = [[each] for each in rest[:count]]
                await (sent if last else broken)(storage, *batches)
            assert await kept(storage, blob) == blob
            await storage.close()
            await metastore.close()

    asyncio.run(check())


def _from(blob: bytes, offset: int, cut: int) -> list[BlobPiece]:
    return [
        BlobPiece(
            digest=digest(blob), size_bytes=len(blob), offset=each, data=blob[each : each + cut]
        )
        for each in range(offset, len(blob), cut)
    ]


async def test_a_full_disk_is_told(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise: no room for the spool is RESOURCE_EXHAUSTED, and what had arrived stays."""
    blob = content(60_000)
    first, second, third = pieces(blob, 20_000)
    real = os.pwrite

    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    await broken(storage, [first])
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(ResourceExhausted) as refused:
        await sent(storage, [second])
    assert refused.value.reason == "STORE_FULL"
    monkeypatch.setattr(os, "pwrite", real)
    assert await sent(storage, [second], [third]) == [digest(blob)]
    assert await kept(storage, blob) == blob


async def test_another_store_is_not_used(
    storage: Storage, metastore: Metastore, tmp_path: Path
) -> None:
    """Promise: a server whose store is not the control plane's says so, and keeps nothing in it."""
    await sent(storage, pieces(content(100)))
    other = tmp_path / "other"
    other.mkdir()
    store = SmallPacks.from_settings(StoreSettings(name="files", url=other.as_uri()))
    foreign = Storage(metastore, store, Spool(tmp_path / "other-spool"))
    with pytest.raises(FailedPrecondition) as refused:
        await sent(foreign, pieces(content(200)))
    assert refused.value.reason == "STORE_FOREIGN"
    assert list(store.list()) == []
    await foreign.close()


class Watched(Spool):
    """Tells when a pack is about to be written."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.packing = asyncio.Event()

    def pack(self) -> Pack:
        self.packing.set()
        return super().pack()


async def test_what_is_being_written_when_an_upload_is_cancelled_is_written_first(
    metastore: Metastore, artifact_store: FileStore, tmp_path: Path
) -> None:
    """Promise: no file is closed, or taken for whole, under the thread that writes it."""
    spool, held, data = Watched(tmp_path / "watched"), threading.Event(), content(1_000)
    storage = Storage(metastore, artifact_store, spool)
    busy = [asyncio.ensure_future(storage.disk(held.wait)) for _ in range(DISK_THREADS)]
    upload = asyncio.create_task(sent(storage, pieces(data)))
    try:
        await spool.packing.wait()
        upload.cancel()
        await asyncio.wait([upload], timeout=0.1)
        assert not upload.done()
    finally:
        held.set()
    with pytest.raises(asyncio.CancelledError):
        await upload
    await asyncio.gather(*busy)
    await storage.close()
    assert list(await metastore.blobs([bytes.fromhex(digest(data))]))


async def test_the_spool_keeps_only_what_can_be_gone_on_with(
    storage: Storage, metastore: Metastore, artifact_store: FileStore, tmp_path: Path
) -> None:
    """Promise: a killed server's packs are removed at the next start, old parts after a day."""
    blob, folder = content(60_000), tmp_path / "spool"
    await broken(storage, pieces(blob, 20_000)[:1])
    part = folder / f"{digest(blob)}.part"
    (folder / "06gvupqi63jr64j8ds4tut4el0.pack").write_bytes(b"half")
    (folder / f"{digest(blob)}.06gvupqi63jr64j8ds4tut4el0.part").write_bytes(b"half")
    again = Spool(folder)
    assert list(folder.iterdir()) == [part]
    assert again.sweep() == 0
    yesterday = part.stat().st_mtime - 25 * 3600
    os.utime(part, (yesterday, yesterday))
    claimed = again.part(bytes.fromhex(digest(blob)), len(blob))
    assert again.sweep() == 0
    again.release(claimed)
    assert again.sweep() == 1
    assert list(folder.iterdir()) == []
