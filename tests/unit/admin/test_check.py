"""`check` finds every broken invariant, and nothing in a sound folder."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from subgrpc.admin.check import check
from subgrpc.artifacts.filestore import FileStore
from subgrpc.errors import DataLoss, NotFound
from subgrpc.journal import JournalStore
from subgrpc.journal.segments import SEALED
from subgrpc.metastore import Metastore
from subgrpc.services.blobs import Spool, Storage
from subgrpc.services.log_store import Archiver, LogCache

from .conftest import add_experiment


def spoil(folder: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(folder / "metastore.db")) as raw:
        for each in statements:
            raw.execute(each)
        raw.commit()


def codes(folder: Path) -> set[str]:
    return {each.code for each in check(folder).problems}


def test_a_sound_folder_has_no_problem(folder: Path) -> None:
    report = check(folder)
    assert report.problems == []
    assert (report.experiments, report.journals) == (3, 3)


def test_an_empty_metastore_has_no_problem(tmp_path: Path) -> None:
    async def make() -> None:
        await (await Metastore.open(tmp_path)).close()

    asyncio.run(make())
    assert check(tmp_path).problems == []


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("DELETE FROM experiment WHERE experiment_id = 'e1'", "ORPHAN_ROWS"),
        ("INSERT INTO label VALUES ('nobody', 'k', 'v', 'default', 1)", "ORPHAN_ROWS"),
        ("UPDATE task SET attempt = 2", "ORPHAN_ROWS"),
        ("DELETE FROM change WHERE revision = 3", "REVISION_HOLE"),
        ("DELETE FROM change WHERE revision = 6", "REVISION_HOLE"),
        ("DELETE FROM change", "REVISION_HOLE"),
        ("UPDATE meta SET revision = 7", "REVISION_HOLE"),
        ("UPDATE meta SET revision = 5", "REVISION"),
        ("UPDATE meta SET pruned = 9", "REVISION"),
        ("UPDATE experiment SET revision = 99 WHERE experiment_id = 'e0'", "REVISION"),
        ("UPDATE change SET after = x'00' WHERE revision = 6", "CHANGE"),
        ("UPDATE experiment SET body = x'ff' WHERE experiment_id = 'e0'", "BODY"),
        ("UPDATE event SET body = x'ff'", "BODY"),
        ("UPDATE task SET body = x'ff'", "BODY"),
        ("UPDATE experiment SET state = 1 WHERE experiment_id = 'e0'", "COLUMN"),
        ("UPDATE experiment SET active = 1 WHERE experiment_id = 'e0'", "COLUMN"),
        ("UPDATE experiment SET end_time = 5 WHERE experiment_id = 'e0'", "COLUMN"),
        ("UPDATE experiment SET creator = 'eve'", "COLUMN"),
        ("UPDATE task SET state = 1", "COLUMN"),
        ("UPDATE label SET value = 'c'", "LABELS"),
        ("DELETE FROM label", "LABELS"),
        ("DELETE FROM event WHERE sequence = 1", "EVENT_HOLE"),
        ("DELETE FROM event", "EVENT_HOLE"),
        ("DELETE FROM event WHERE sequence = 2", "STATE"),
        ("DELETE FROM attempt", "ATTEMPT_HOLE"),
        ("UPDATE attempt SET number = 2", "ATTEMPT_HOLE"),
        ("UPDATE attempt SET end_time = NULL, settled = 0", "ATTEMPT_OPEN"),
        ("UPDATE attempt SET end_time = NULL", "ATTEMPT"),
        ("UPDATE attempt SET logs_complete = 0", "ATTEMPT"),
        ("UPDATE attempt SET cluster = 'clusters/x'", "ATTEMPT"),
        ("DELETE FROM log", "LOG"),
        ("UPDATE log SET attempt = 2", "LOG"),
        ("UPDATE log SET experiment_uid = 'x' || experiment_uid", "ORPHAN_ROWS"),
        ("DELETE FROM meta", "META"),
    ],
)
def test_each_broken_invariant_is_found(folder: Path, statement: str, code: str) -> None:
    """With its code, whatever else it breaks."""
    spoil(folder, statement)
    assert code in codes(folder)


def journal(folder: Path) -> Path:
    return next(path for path in sorted((folder / "journals").glob("*/1")))


def test_a_flipped_bit_in_a_log_is_found(folder: Path) -> None:
    """Without reading the logs it is not."""
    segment = max(journal(folder).iterdir(), key=lambda each: each.stat().st_size)
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    assert codes(folder) == {"JOURNAL"}
    assert check(folder, logs=False).problems == []


def test_a_log_that_was_cut_is_found(folder: Path) -> None:
    segment = max(journal(folder).iterdir(), key=lambda each: each.stat().st_size)
    with segment.open("r+b") as file:
        file.truncate(segment.stat().st_size - 1)
    assert codes(folder) == {"JOURNAL"}


def test_a_log_without_its_end_is_found(folder: Path) -> None:
    (journal(folder) / SEALED).unlink()
    assert codes(folder) == {"JOURNAL"}


def test_a_missing_log_is_found(folder: Path) -> None:
    journal(folder).rename(folder / "elsewhere")
    assert codes(folder) == {"JOURNAL_MISSING"}


def test_a_log_of_nobody_is_found(folder: Path) -> None:
    journal(folder).rename(journal(folder).with_name("2"))
    assert codes(folder) == {"JOURNAL_MISSING", "JOURNAL_ORPHAN"}


def test_a_log_on_another_server_is_not_missed(folder: Path) -> None:
    journal(folder).rename(folder / "elsewhere")
    spoil(folder, "UPDATE attempt SET journal_server = 'another'")
    assert codes(folder) == set()


@pytest.fixture
async def archived(folder: Path, tmp_path: Path) -> Path:
    """All logs are in an artifact store, and none is on the disk."""
    store = await Metastore.open(folder)
    journals = JournalStore(folder / "journals")
    (tmp_path / "store").mkdir()
    kept = FileStore("files", tmp_path / "store")
    storage = Storage(store, kept, Spool(tmp_path / "spool"))
    cache = LogCache(storage, store, journals, limit=0)
    while await Archiver(storage, store, journals, cache).archive():
        pass
    assert list((folder / "journals").glob("*/1")) == []
    await storage.close()
    await store.close()
    return folder


def test_a_log_in_the_artifact_store_is_not_missed(archived: Path) -> None:
    """It need not be on the disk."""
    assert codes(archived) == set()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM blob",
        "UPDATE object SET ready = 0",
        "UPDATE object SET condemned_time = 5",
        "DELETE FROM artifact_object",
    ],
)
def test_a_log_that_the_artifact_store_should_have_is_missed(
    archived: Path, statement: str
) -> None:
    """Its blobs are not there, or may be removed at any time."""
    spoil(archived, statement)
    assert "LOG_MISSING" in codes(archived)


def test_an_expired_log_is_not_missed(folder: Path) -> None:
    journal(folder).rename(folder / "elsewhere")
    spoil(folder, "UPDATE log SET state = 2")
    assert codes(folder) == set()


def test_a_damaged_page_is_found(folder: Path) -> None:
    """Either as a problem, or because nothing can be read."""
    path = folder / "metastore.db"
    data = bytearray(path.read_bytes())
    for place in range(4096 * 3, len(data), 4096):
        data[place : place + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(DataLoss):
        check(folder)


def test_no_metastore_is_not_a_sound_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        check(tmp_path)


@pytest.mark.thorough
async def test_a_folder_in_use_has_no_problem_at_any_moment(tmp_path: Path) -> None:
    """A writer that goes on, and logs that leave the disk, are no reason for a false alarm."""
    folder = tmp_path / "data"
    store = await Metastore.open(folder)
    journals = JournalStore(folder / "journals")
    (tmp_path / "store").mkdir()
    storage = Storage(store, FileStore("files", tmp_path / "store"), Spool(tmp_path / "spool"))
    archiver = Archiver(storage, store, journals, LogCache(storage, store, journals, limit=0))
    done = asyncio.Event()

    async def work() -> None:
        for number in range(60):
            await add_experiment(store, journals, f"w{number}")
            if number % 5 == 4:
                await archiver.archive()
        done.set()

    working = asyncio.create_task(work())
    looked = 0
    while not done.is_set():
        report = await asyncio.to_thread(check, folder, logs=looked % 2 == 0)
        assert report.problems == []
        looked += 1
    await working
    assert looked > 1
    await storage.close()
    await store.close()
