"""Complete journals go to the store, once, whatever is in the way."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from subgrpc.agent.faults import VARIABLE
from subgrpc.errors import Unavailable
from subgrpc.metastore.logs import LogState

from .shelf import ERR, OUT, Shelf, kinds, output

ROOT = Path(__file__).resolve().parents[3]


def noise(size: int, seed: int = 0) -> bytes:
    """Output that is no text."""
    return random.Random(seed).randbytes(size)


SEGMENTS = (
    [("main-0", OUT, noise(90_000)), ("side-0", ERR, b"first\n")],
    [("side-0", ERR, noise(150_000, 1)), ("main-0", OUT, b"\xff\x00last")],
)


async def test_what_was_evicted_is_read_back_byte_for_byte(shelf: Shelf) -> None:
    """The same frames with the same tokens, from the disk and from the store; also by token."""
    uid = await shelf.ended("e", *SEGMENTS)
    before = await shelf.read("e")
    assert output(before) == noise(90_000) + b"\xff\x00last"
    await shelf.archive()
    await shelf.evict(uid)
    assert not shelf.journals.exists(uid, 1)
    after = await shelf.read("e")
    assert after == before
    for frame in before[::3]:
        place = before.index(frame) + 1
        assert await shelf.read("e", resume_token=frame.resume_token) == before[place:]
    assert await shelf.read("e", format="LOG_FORMAT_TEXT", tail_lines=1)
    assert output(await shelf.read("e", stream="LOG_STREAM_STDERR"), "side-0", ERR) == (
        b"first\n" + noise(150_000, 1)
    )


async def test_a_follower_is_given_the_end_at_once(shelf: Shelf) -> None:
    """Following an archived log ends like following one on the disk."""
    uid = await shelf.ended("e", *SEGMENTS)
    await shelf.archive()
    await shelf.evict(uid)
    assert kinds(await shelf.read("e", follow=True))[-1] == "end"


async def test_only_the_segments_that_are_wanted_are_fetched(shelf: Shelf, tmp_path: Path) -> None:
    """Of one task's output those in which it is; of a tail those in which its lines are."""
    lines = [("main-0", OUT, b"line %d\n" % number) for number in range(100)]
    uid = await shelf.ended("e", [("side-0", OUT, noise(70_000))], lines, [("side-0", OUT, b"x\n")])
    await shelf.archive()
    await shelf.evict(uid)
    folder = tmp_path / "journals" / ".fetched" / uid / "1"
    part = "/attempts/1/tasks/main-0"
    frames = await shelf.read("e" + part)
    assert output(frames) == b"".join(data for _, _, data in lines)
    assert [path.name for path in folder.glob("*.seg")] == ["000002.seg"]
    tail = await shelf.read("e", tail_lines=1)
    assert output(tail, "side-0") == b"x\n"
    assert sorted(path.name for path in folder.glob("*.seg")) == ["000002.seg", "000003.seg"]


async def test_short_logs_share_objects(shelf: Shelf) -> None:
    """A hundred attempts that said little are one object, not two hundred."""
    uids = [
        await shelf.ended(f"e{number}", [("main-0", OUT, b"%d\n" % number)])
        for number in range(100)
    ]
    await shelf.archive()
    assert shelf.objects() <= 3
    for number, uid in enumerate(uids):
        await shelf.evict(uid)
        assert output(await shelf.read(f"e{number}")) == b"%d\n" % number


async def test_an_attempt_without_output_is_archived_too(shelf: Shelf) -> None:
    """It needs no object, and is complete from the store as from the disk."""
    uid = await shelf.ended("e")
    await shelf.archive()
    assert shelf.objects() == 0
    await shelf.evict(uid)
    assert kinds(await shelf.read("e", follow=True)) == ["end"]


async def test_a_store_that_is_away_costs_nothing_but_time(shelf: Shelf) -> None:
    """Logs wait on the disk, and are read from there; they are archived once it is back."""
    uid = await shelf.ended("e", *SEGMENTS)
    shelf.store.away = True
    with pytest.raises(Unavailable):
        await shelf.archiver.archive()
    assert list(await shelf.metastore.logs.pending("", 9)) == [(uid, 1)]
    assert output(await shelf.read("e")) == noise(90_000) + b"\xff\x00last"
    shelf.store.away = False
    await shelf.archive()
    assert list(await shelf.metastore.logs.pending("", 9)) == []


async def test_garbage_collection_leaves_logs_alone_until_their_experiment_goes(
    shelf: Shelf,
) -> None:
    """What a log consists of is needed by it, and by nothing else once it is deleted."""
    uid = await shelf.ended("e", *SEGMENTS)
    await shelf.archive()
    await shelf.evict(uid)
    assert await shelf.collect() == 0
    assert output(await shelf.read("e")) == noise(90_000) + b"\xff\x00last"
    await shelf.metastore.write(lambda tx: tx.delete_experiment(uid))
    assert await shelf.collect() > 0
    assert shelf.objects() == 0


async def test_a_damaged_journal_is_not_archived_and_holds_up_no_other(shelf: Shelf) -> None:
    """It stays where it is, for `admin check` to tell; those behind it go on."""
    broken = await shelf.ended("e", *SEGMENTS, ago=10)
    path = shelf.journals.folder(broken, 1) / "000002.seg"
    path.write_bytes(path.read_bytes()[:-1])
    await shelf.ended("f", *SEGMENTS)
    await shelf.archive()
    assert list(await shelf.metastore.logs.pending("", 9)) == [(broken, 1)]


async def test_a_log_that_is_deleted_meanwhile_is_not_recorded(shelf: Shelf) -> None:
    """What was put for it is garbage."""
    uid = await shelf.ended("e", *SEGMENTS)
    waiting = await shelf.metastore.logs.get(uid, 1)
    assert waiting is not None
    await shelf.metastore.write(lambda tx: tx.delete_experiment(uid))
    await shelf.archive()
    assert await shelf.metastore.logs.get(uid, 1) is None
    await shelf.collect()
    assert shelf.objects() == 0


DYING = """
import asyncio, sys
from pathlib import Path
from tests.unit.log_store.shelf import Shelf
async def main():
    shelf = await Shelf.open(Path(sys.argv[1]), limit=int(sys.argv[2]))
    await shelf.archive()
    await shelf.cache.trim()
    await shelf.read("e")
    await shelf.close()
asyncio.run(main())
"""


@pytest.mark.parametrize(
    "point",
    ["archive.stored", "archive.recorded", "archive.evicted", "journal.doomed", "archive.fetched"],
)
async def test_a_crash_anywhere_loses_and_doubles_nothing(tmp_path: Path, point: str) -> None:
    """Whatever was under way is done again, or was done; the log is the same afterwards."""
    shelf = await Shelf.open(tmp_path)
    uid = await shelf.ended("e", *SEGMENTS)
    before = await shelf.read("e")
    await shelf.close()
    process = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", DYING, str(tmp_path), "0"],
        cwd=ROOT,
        env={VARIABLE: f"{tmp_path}/faults|{point}=1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    shelf = await Shelf.open(tmp_path, limit=0)
    await shelf.archive()
    await shelf.cache.trim()
    assert await shelf.read("e") == before
    log = await shelf.metastore.logs.get(uid, 1)
    assert log is not None
    assert (log.state, log.local) == (LogState.ARCHIVED, 0)
    assert not shelf.journals.exists(uid, 1)
    await shelf.collect()
    assert await shelf.read("e") == before
    await shelf.close()
