"""What the store has takes bounded room on the disk, and nobody who reads notices."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Generator
from contextlib import aclosing
from pathlib import Path

import pytest

from subgrpc.errors import DataLoss, NotFound, Unavailable
from subgrpc.v1.experiment_service_pb2 import (
    BookmarkType,
    StreamLogsRequest,
    StreamLogsResponse,
)

from .shelf import OUT, Outage, Shelf, kinds, output

DATA = random.Random(5).randbytes(300_000)
PARTS = [[("main-0", OUT, DATA[start : start + 100_000])] for start in (0, 100_000, 200_000)]


async def archived(shelf: Shelf, name: str = "e", ago: float = 0.0) -> str:
    uid = await shelf.ended(name, *PARTS, ago=ago)
    await shelf.archive()
    return uid


async def test_the_journals_that_ended_first_are_evicted_first(tmp_path: Path) -> None:
    """Until the rest has room; none that only this disk has goes."""
    shelf = await Shelf.open(tmp_path, limit=700_000)
    waiting = await shelf.ended("waiting", *PARTS, ago=100)
    shelf.store.away = True
    uids = {}
    for ago in (30, 20, 10):
        uids[ago] = await shelf.ended(f"e{ago}", *PARTS, ago=ago)
    shelf.store.away = False
    await shelf.archive()
    left = [ago for ago, uid in uids.items() if shelf.journals.exists(uid, 1)]
    assert left == [20, 10]
    assert not shelf.journals.exists(waiting, 1)  # archived by now, and the oldest
    for ago in uids:
        assert output(await shelf.read(f"e{ago}")) == DATA
    await shelf.close()


async def test_what_is_not_archived_is_never_evicted(tmp_path: Path) -> None:
    """However little room there is."""
    shelf = await Shelf.open(tmp_path, limit=0)
    uid = await shelf.ended("e", *PARTS)
    await shelf.cache.trim()
    assert shelf.journals.exists(uid, 1)
    await shelf.close()


async def test_a_journal_that_is_read_is_not_evicted(tmp_path: Path) -> None:
    """It goes once nobody reads it."""
    shelf = await Shelf.open(tmp_path, limit=0)
    uid = await shelf.ended("e", *PARTS)
    request = StreamLogsRequest(
        name="teams/default/experiments/e", format="LOG_FORMAT_BYTES", follow=True
    )
    async with aclosing(shelf.logs.stream(request, shelf.draining)) as frames:
        await anext(frames)
        await shelf.archive()
        assert shelf.journals.exists(uid, 1)
    await shelf.cache.trim()
    assert not shelf.journals.exists(uid, 1)
    await shelf.close()


async def test_an_eviction_in_the_midst_is_not_noticed(shelf: Shelf) -> None:
    """Also if it is forced: the reader goes on where it was, from the store."""
    uid = await shelf.ended("e", *PARTS)
    before = await shelf.read("e")
    await shelf.archive()
    request = StreamLogsRequest(name="teams/default/experiments/e", format="LOG_FORMAT_BYTES")
    found = []
    async with aclosing(shelf.logs.stream(request, shelf.draining)) as frames:
        async for frame in frames:
            found.append(StreamLogsResponse.FromString(frame))
            if len(found) == 2:
                assert await asyncio.to_thread(shelf.journals.evict, uid, 1, force=True)
    assert found == before


async def test_fetched_files_that_vanish_are_fetched_again(shelf: Shelf, tmp_path: Path) -> None:
    """As when the disk is tidied up while somebody reads."""
    uid = await archived(shelf)
    await shelf.evict(uid)
    before = await shelf.read("e")
    for path in (tmp_path / "journals" / ".fetched").rglob("*.seg"):
        path.unlink()
    assert await shelf.read("e") == before


async def test_readers_at_the_same_time_fetch_once(shelf: Shelf) -> None:
    """Twenty readers cost the store what one does: one request for each segment."""
    uid = await archived(shelf)
    await shelf.evict(uid)
    shelf.store.gets = 0
    for frames in await asyncio.gather(*(shelf.read("e") for _ in range(20))):
        assert output(frames) == DATA
    assert shelf.store.gets == len(PARTS)


async def test_fetched_files_are_evicted_as_well(tmp_path: Path) -> None:
    """Those that were not used for a while; what is being read is kept, however large."""
    now = 10**15
    shelf = await Shelf.open(tmp_path, limit=0)
    shelf.metastore.clock = lambda: now
    uid = await shelf.ended("e", *PARTS)
    await shelf.archive()
    assert output(await shelf.read("e")) == DATA
    folder = tmp_path / "journals" / ".fetched" / uid / "1"
    assert len(list(folder.glob("*.seg"))) == 3
    now += 3600 * 1_000_000
    await shelf.cache.trim()
    assert list(folder.glob("*.seg")) == []
    assert output(await shelf.read("e")) == DATA
    await shelf.close()


async def test_what_the_store_has_damaged_is_never_shown(shelf: Shelf, tmp_path: Path) -> None:
    """A wrong digest is an error, and nothing of it stays."""
    uid = await archived(shelf)
    await shelf.evict(uid)
    for path in (tmp_path / "store" / "objects").rglob("*.*"):
        if path.is_file():
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
    with pytest.raises(DataLoss) as caught:
        await shelf.read("e")
    assert caught.value.reason == "OBJECT_DAMAGED"
    assert list((tmp_path / "journals" / ".fetched").rglob("*.seg")) == []


async def test_an_object_that_the_store_has_lost_is_told_at_once(
    shelf: Shelf, tmp_path: Path
) -> None:
    """Whoever removed it behind our back: the reader hears of it, and does not wait for ever."""
    uid = await archived(shelf)
    await shelf.evict(uid)
    for path in (tmp_path / "store" / "objects").glob("*/*"):
        path.unlink()
    with pytest.raises(DataLoss) as caught:
        await asyncio.wait_for(shelf.read("e"), 20)
    assert caught.value.reason == "OBJECT_DAMAGED"


async def test_blobs_that_are_gone_are_told_from_logs_that_are(shelf: Shelf) -> None:
    """The first is a loss, the second was wanted."""
    uid = await archived(shelf)
    await shelf.evict(uid)
    log = await shelf.metastore.logs.get(uid, 1)
    assert log is not None
    file = next(shelf.cache.manifest(log).files(shelf.journals.folder(uid, 1)))
    await shelf.metastore.write(lambda tx: tx.delete_experiment(uid))
    await shelf.collect()
    with pytest.raises(NotFound) as caught:
        await shelf.cache.fetch(file)
    assert caught.value.reason == "LOGS_DELETED"


async def test_a_store_that_is_away_is_told_to_the_reader(shelf: Shelf) -> None:
    """UNAVAILABLE, to come again; afterwards all of it is there."""
    uid = await archived(shelf)
    await shelf.evict(uid)
    shelf.store.away = True
    with pytest.raises(Unavailable) as caught:
        await shelf.read("e")
    assert caught.value.reason == "STORE_UNAVAILABLE"
    shelf.store.away = False
    assert output(await shelf.read("e")) == DATA


class Slow(Outage):
    """A store whose answers come when the test lets them."""

    opened = threading.Event()
    opened.set()

    def get(
        self, key: str, offset: int = 0, length: int | None = None
    ) -> Generator[bytes, None, None]:
        assert self.opened.wait(30)
        yield from super().get(key, offset, length)


async def test_a_slow_store_holds_up_nobody_else(tmp_path: Path) -> None:
    """Forty readers wait for it, and others get their output from the disk meanwhile."""
    shelf = await Shelf.open(tmp_path, store=Slow)
    uid = await archived(shelf)
    Slow.opened.clear()
    await shelf.ended("here", [("main-0", OUT, b"here")])
    await shelf.evict(uid)
    slow = asyncio.ensure_future(shelf.read("e"))
    many = [asyncio.ensure_future(shelf.read("e", tail_lines=number)) for number in range(40)]
    assert output(await shelf.read("here")) == b"here"
    assert not slow.done()
    Slow.opened.set()
    assert output(await slow) == DATA
    await asyncio.gather(*many)
    await shelf.close()


async def test_who_waits_for_a_slow_store_hears_that_the_server_is_there(tmp_path: Path) -> None:
    """By heartbeats; when the server stops meanwhile, by the bookmark that says so."""
    shelf = await Shelf.open(tmp_path, store=Slow, heartbeat=0.05)
    uid = await archived(shelf)
    await shelf.evict(uid)
    Slow.opened.clear()
    request = StreamLogsRequest(name="teams/default/experiments/e", follow=True)
    async with aclosing(shelf.logs.stream(request, shelf.draining)) as frames:
        for _ in range(3):
            frame = StreamLogsResponse.FromString(await anext(frames))
            assert frame.bookmark.type == BookmarkType.BOOKMARK_TYPE_HEARTBEAT
        shelf.draining.set()
        left = [StreamLogsResponse.FromString(frame) async for frame in frames]
    assert left[-1].bookmark.type == BookmarkType.BOOKMARK_TYPE_SERVER_DRAINING
    Slow.opened.set()
    await shelf.close()


async def test_a_restart_begins_with_an_empty_cache(shelf: Shelf, tmp_path: Path) -> None:
    """What an earlier process fetched may not be on the disk after a loss of power."""
    uid = await archived(shelf)
    await shelf.evict(uid)
    await shelf.read("e")
    assert list((tmp_path / "journals" / ".fetched").rglob("*.seg"))
    await shelf.cache.start()
    assert not (tmp_path / "journals" / ".fetched").exists()


async def test_deletion_removes_what_was_fetched(shelf: Shelf, tmp_path: Path) -> None:
    """Of that experiment, and of no other."""
    uids = [await archived(shelf, name) for name in ("e", "f")]
    for uid in uids:
        await shelf.evict(uid)
    for name in ("e", "f"):
        assert kinds(await shelf.read(name))[-1] == "end"
    await asyncio.to_thread(shelf.journals.delete, uids[0])
    left = {path.parts[-3] for path in (tmp_path / "journals" / ".fetched").rglob("*.seg")}
    assert left == {uids[1]}
