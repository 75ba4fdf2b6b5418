"""What nothing needs goes, step by step; what cannot be judged stays."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from subgrpc import names
from subgrpc.artifacts.blobs import object_key
from subgrpc.artifacts.filestore import FileStore
from subgrpc.errors import FailedPrecondition, Unavailable
from subgrpc.metastore import Metastore
from subgrpc.metastore.offline import Place, begin_history, confirm
from subgrpc.services.artifacts.garbage import GRACE, IDLE, Collector
from subgrpc.services.artifacts.making import Making
from subgrpc.services.blobs import Spool, Storage
from subgrpc.v1.artifact_service_pb2 import CollectArtifactGarbageResponse

from .conftest import Parts, content, file, make_store

NO_GRACE = timedelta(0)
MINUTE = 60_000_000


class Clock:
    """A clock that can be set forward."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def timed(tmp_path: Path, databases: Any, clock: Clock) -> AsyncIterator[Parts]:
    """A server whose metastore has that clock."""
    database = databases.of(tmp_path / "timed")
    metastore = await Metastore.open(tmp_path / "timed", database=database, clock=clock)
    (tmp_path / "kept").mkdir()
    storage = Storage(metastore, make_store(tmp_path / "kept"), Spool(tmp_path / "spooled"))
    yield Parts(metastore, storage, Making(metastore), Collector(metastore, storage))
    await storage.close()
    await metastore.close()


@pytest.fixture
def artifact_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    folder.mkdir()
    return folder


@contextlib.asynccontextmanager
async def serving(tmp_path: Path, kept: Path) -> AsyncIterator[Parts]:
    """A server on a data folder, as long as the context lasts."""
    metastore = await Metastore.open(tmp_path / "data")
    storage = Storage(metastore, make_store(kept), Spool(tmp_path / "spooled"))
    yield Parts(metastore, storage, Making(metastore), Collector(metastore, storage))
    await storage.close()
    await metastore.close()


async def collect(parts: Parts, grace: timedelta = GRACE) -> CollectArtifactGarbageResponse:
    last = CollectArtifactGarbageResponse()
    async for progress in parts.collector.collect(grace):
        last.CopyFrom(progress)
    assert last.done
    return last


def objects(folder: Path) -> list[Path]:
    return [each for each in (folder / "objects").rglob("*") if each.is_file()]


async def test_an_object_is_condemned_after_one_grace_and_removed_after_another(
    timed: Parts, clock: Clock, tmp_path: Path
) -> None:
    """Promise: two hours for what nobody needs, from the last time that somebody asked for it."""
    data = content(20_000)
    await timed.upload([data])
    for minutes, condemned, removed in ((59, 0, 0), (2, 1, 0), (59, 0, 0), (2, 0, 1)):
        clock.now += minutes * MINUTE
        counted = await timed.collector.estimate(GRACE)
        done = await collect(timed)
        assert (done.condemned_count, done.removed_count) == (condemned, removed), minutes
        assert (counted.condemned_count, counted.removed_count) == (condemned, removed), minutes
    assert objects(tmp_path / "kept") == []
    await timed.upload([data])
    clock.now += 50 * MINUTE
    await timed.storage.want([bytes.fromhex(file("a", data).sha256)])
    clock.now += 50 * MINUTE
    assert (await collect(timed)).condemned_count == 0


async def test_an_upload_that_broke_off_leaves_an_artifact_for_a_day(
    timed: Parts, clock: Clock
) -> None:
    """Promise: counted from the last files; what it had is garbage then."""
    data = content(20_000)
    await timed.upload([data])
    opened = await timed.create([], "x", ready=False)
    clock.now += 23 * 60 * MINUTE
    await timed.upload([data])
    await timed.making.add(opened.name, 0, [file("a", data)])
    clock.now += 23 * 60 * MINUTE
    assert (await collect(timed)).abandoned_count == 0
    clock.now += 2 * 60 * MINUTE
    assert (await timed.collector.estimate(GRACE)).abandoned_count == 1
    done = await collect(timed)
    assert (done.abandoned_count, done.condemned_count) == (1, 0)
    assert await timed.metastore.artifacts.get("default", "x") is None
    clock.now += 61 * MINUTE
    assert (await collect(timed)).condemned_count == 1
    assert timedelta(hours=24) == IDLE


async def test_only_objects_that_nobody_reserved_and_that_are_old_are_swept(
    parts: Parts, tmp_path: Path
) -> None:
    """Promise: not those of the last hour, those on their way, or files that are none of ours."""
    store = parts.storage.store
    await parts.storage.ready()
    kept = await parts.create([], "x")
    old = "000" + names.new_uid()[3:]
    reserved = await parts.storage.reserve(b"1" * 32, 4)
    keys = [
        object_key(b"0" * 32, old),
        object_key(b"1" * 32, reserved),
        object_key(b"2" * 32, names.new_uid()),
        "objects/notes",
        f"logs/{old}",
    ]
    for key in keys:
        path = tmp_path / "store" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"data")
    assert (await parts.collector.estimate(GRACE)).removed_count == 1
    async for each in parts.collector.collect(GRACE, sweep=False):
        assert each.removed_count == 0
    assert (await collect(parts)).removed_count == 1
    assert [store.stat(each) is not None for each in keys] == [False, True, True, True, True]
    done = await collect(parts, NO_GRACE)
    assert (done.condemned_count, done.removed_count, done.removed_bytes) == (1, 2, 8)
    assert [store.stat(each) is not None for each in keys] == [False, False, False, True, True]
    assert await parts.damaged(kept) == []


@pytest.mark.sqlite
async def test_nothing_is_removed_before_a_restore_is_confirmed(
    tmp_path: Path, artifact_folder: Path
) -> None:
    """Promise: what a restored metastore does not know may be needed by a newer one."""
    data = content(20_000)
    async with serving(tmp_path, artifact_folder) as parts:
        await parts.upload([data])
        assert len(objects(artifact_folder)) == 1
    begin_history(Place(tmp_path / "data"))
    async with serving(tmp_path, artifact_folder) as parts:
        with pytest.raises(FailedPrecondition) as caught:
            await collect(parts, NO_GRACE)
        assert caught.value.reason == "RESTORE_UNCONFIRMED"
        assert (await parts.collector.estimate(NO_GRACE)).condemned_count == 1
    confirm(Place(tmp_path / "data"))
    async with serving(tmp_path, artifact_folder) as parts:
        assert (await collect(parts, NO_GRACE)).removed_count == 1
    assert objects(artifact_folder) == []


async def test_several_collectors_at_once_count_what_there_was(servers: list[Parts]) -> None:
    """Promise: each may find anything; nobody fails because another was faster."""
    await servers[0].upload([content(20_000, seed) for seed in range(30)])
    done = await asyncio.gather(*(collect(each, NO_GRACE) for each in servers * 3))
    assert sum(each.condemned_count for each in done) == 30
    assert sum(each.removed_count for each in done) >= 30
    assert (await servers[0].collector.estimate(NO_GRACE)).removed_count == 0


class Failing(FileStore):
    """A store that can be told to be away."""

    away = False

    def delete(self, key: str) -> None:
        if self.away:
            raise Unavailable("it is away", reason="STORE_UNAVAILABLE")
        super().delete(key)


async def test_a_store_that_is_away_is_told_and_nothing_is_forgotten(
    parts: Parts, tmp_path: Path
) -> None:
    """Promise: what could not be removed from the store is still known, and goes the next time."""
    await parts.upload([content(20_000, seed) for seed in range(5)])
    store = Failing("files", tmp_path / "store")
    storage = Storage(parts.metastore, store, Spool(tmp_path / "other"))
    collector = Collector(parts.metastore, storage)
    await storage.ready()
    store.away = True
    with pytest.raises(Unavailable):
        async for _ in collector.collect(NO_GRACE):
            pass
    assert (await collector.estimate(NO_GRACE)).removed_count == 5
    store.away = False
    assert (await collect(parts, NO_GRACE)).removed_count == 5
    assert objects(tmp_path / "store") == []
    await storage.close()
