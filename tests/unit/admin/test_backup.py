"""A backup is whole or not there, and what is restored from it is what was backed up."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from pathlib import Path

import pytest

from subgrpc.admin.backup import MANIFEST, Manifest, backup, restore
from subgrpc.admin.check import check
from subgrpc.artifacts.filestore import FileStore
from subgrpc.errors import DataLoss, FailedPrecondition, NotFound, Unavailable
from subgrpc.journal import JournalStore
from subgrpc.metastore import Metastore, offline
from subgrpc.services.blobs import Spool, Storage
from subgrpc.services.log_store import Archiver, LogCache

from .conftest import OUTPUT, add_experiment


def quiet(name: str) -> None:
    """Progress is not looked at."""


def everything(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for top in ("journals", "secrets", "server-id", "artifacts/store")
        for path in sorted([folder / top, *(folder / top).rglob("*")])
        if path.is_file()
    }


@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz", "b.tgz"])
def test_what_is_restored_is_what_was_there(folder: Path, tmp_path: Path, name: str) -> None:
    """Experiments, logs, secrets and the server's id; nothing is wrong with it."""
    made = backup(folder, tmp_path / name, quiet)
    assert (tmp_path / name).stat().st_mode & 0o077 == 0
    restored = tmp_path / "restored"
    assert restore(tmp_path / name, restored, quiet) == made
    assert everything(restored) == everything(folder)
    assert check(restored).problems == []
    assert restored.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["data", name, "restored"])


def test_artifacts_of_the_folder_can_be_left_out(folder: Path, tmp_path: Path) -> None:
    """With them the restored store is the same; without them nothing else changes."""
    kept = folder / "artifacts" / "store" / "objects" / "ab" / "abcd.06gvupqi63jr64j8ds4tut4el0"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"blob")
    (folder / "artifacts" / "spool").mkdir()
    (folder / "artifacts" / "spool" / "ab.part").write_bytes(b"on its way")
    relative = kept.relative_to(folder).as_posix()
    whole = backup(folder, tmp_path / "whole.tar", quiet)
    restore(tmp_path / "whole.tar", tmp_path / "restored", quiet)
    assert everything(tmp_path / "restored") == everything(folder)
    assert relative in whole.files
    less = backup(folder, tmp_path / "less.tar", quiet, artifacts=False)
    assert whole.files.keys() - less.files.keys() == {relative}
    assert not any("spool" in name for name in whole.files)


def test_a_restore_begins_another_history(folder: Path, tmp_path: Path) -> None:
    """So tokens of before are refused; who the control plane is stays the same."""

    async def look(where: Path) -> tuple[str, str, bool]:
        store = await Metastore.open(where)
        found = store.identity.control_plane_id, store.identity.history_id, await store.restored()
        await store.close()
        return found

    backup(folder, tmp_path / "b.tar", quiet)
    restore(tmp_path / "b.tar", tmp_path / "restored", quiet)
    before, after = asyncio.run(look(folder)), asyncio.run(look(tmp_path / "restored"))
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert (before[2], after[2]) == (False, True)
    assert offline.confirm(offline.Place(tmp_path / "restored"))
    assert not offline.confirm(offline.Place(tmp_path / "restored"))
    assert not asyncio.run(look(tmp_path / "restored"))[2]


async def test_a_backup_has_the_logs_that_leave_the_disk_meanwhile(tmp_path: Path) -> None:
    """Its metastore was copied when only the disk had them: there they stay until it has them."""
    folder = tmp_path / "data"
    store = await Metastore.open(folder)
    journals = JournalStore(folder / "journals")
    (tmp_path / "store").mkdir()
    storage = Storage(store, FileStore("files", tmp_path / "store"), Spool(tmp_path / "spool"))
    cache = LogCache(storage, store, journals, limit=0)
    archiver = Archiver(storage, store, journals, cache)
    uids = [await add_experiment(store, journals, f"w{number}") for number in range(5)]
    loop = asyncio.get_running_loop()

    def archive(name: str) -> None:
        if name.startswith("journals/"):
            asyncio.run_coroutine_threadsafe(archiver.archive(), loop).result(30)

    await asyncio.to_thread(backup, folder, tmp_path / "b.tar", archive)
    assert list(await store.logs.pending("", 9)) == []
    assert all(journals.exists(uid, 1) for uid in uids)
    await asyncio.to_thread(restore, tmp_path / "b.tar", tmp_path / "restored", quiet)
    assert (await asyncio.to_thread(check, tmp_path / "restored")).problems == []
    await cache.trim()
    assert not any(journals.exists(uid, 1) for uid in uids)
    await storage.close()
    await store.close()


async def test_a_backup_is_taken_while_a_server_writes(tmp_path: Path) -> None:
    """It holds all that was acknowledged before it began, and is sound."""
    store = await Metastore.open(tmp_path / "data")
    journals = JournalStore(tmp_path / "data" / "journals")
    uids: list[str] = []
    stop, enough = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        while not stop.is_set():
            uids.append(await add_experiment(store, journals, f"w{len(uids)}"))
            if len(uids) % 10 == 0:
                enough.set()

    working = asyncio.create_task(work())
    for number in range(4):
        await asyncio.wait_for(enough.wait(), 30)
        enough.clear()
        known = list(uids)
        target = tmp_path / f"b{number}.tar"
        await asyncio.to_thread(backup, tmp_path / "data", target, quiet)
        restored = tmp_path / f"r{number}"
        await asyncio.to_thread(restore, target, restored, quiet)
        report = await asyncio.to_thread(check, restored)
        assert {each.code for each in report.problems} <= {"JOURNAL_ORPHAN"}
        copy = await Metastore.open(restored)
        for uid in known:
            assert await copy.get_experiment_by_uid(uid) is not None
            batch = JournalStore(restored / "journals").reader(uid, 1).read(0)
            assert b"".join(part for run in batch.runs for part in run.parts) == OUTPUT
        await copy.close()
    stop.set()
    await working
    await store.close()


def test_nothing_is_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_bytes(b"mine")
    with pytest.raises(FailedPrecondition) as caught:
        backup(folder, tmp_path / "b.tar", quiet)
    assert caught.value.reason == "BACKUP_EXISTS"
    backup(folder, tmp_path / "c.tar", quiet)
    with pytest.raises(FailedPrecondition) as caught:
        restore(tmp_path / "c.tar", folder, quiet)
    assert caught.value.reason == "DATA_DIR_NOT_EMPTY"
    assert check(folder).problems == []


def test_an_empty_folder_is_restored_to(folder: Path, tmp_path: Path) -> None:
    backup(folder, tmp_path / "b.tar", quiet)
    (tmp_path / "there").mkdir()
    restore(tmp_path / "b.tar", tmp_path / "there", quiet)
    assert check(tmp_path / "there").problems == []


def test_what_is_not_there_is_said_to_be(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        backup(tmp_path / "nowhere", tmp_path / "b.tar", quiet)
    with pytest.raises(NotFound):
        restore(tmp_path / "nothing", tmp_path / "r", quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_backup_that_cannot_be_written_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    """The disk's own words are in the error."""
    with pytest.raises(Unavailable) as caught:
        backup(folder, tmp_path / "no" / "such" / "folder" / "b.tar", quiet)
    assert caught.value.reason == "BACKUP_FAILED"
    assert "No such file" in caught.value.message


@pytest.mark.parametrize("kept", [0, 1000, 0.5, 0.99])
def test_a_backup_that_was_cut_is_refused(folder: Path, tmp_path: Path, kept: float) -> None:
    """Nothing is left behind."""
    whole = tmp_path / "b.tar"
    backup(folder, whole, quiet)
    data = whole.read_bytes()
    manifest = data.index(MANIFEST.encode())
    cut = min(int(len(data) * kept) if 0 < kept < 1 else int(kept), manifest)
    (tmp_path / "cut.tar").write_bytes(data[:cut])
    with pytest.raises(DataLoss) as caught:
        restore(tmp_path / "cut.tar", tmp_path / "r", quiet)
    assert caught.value.reason == "BACKUP_DAMAGED"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "cut.tar", "data"]


def test_a_flipped_bit_is_refused(folder: Path, tmp_path: Path) -> None:
    """By the manifest: the file that differs is named."""
    backup(folder, tmp_path / "b.tar", quiet)
    data = bytearray((tmp_path / "b.tar").read_bytes())
    data[data.index(b"hush")] ^= 1
    (tmp_path / "b.tar").write_bytes(data)
    with pytest.raises(DataLoss) as caught:
        restore(tmp_path / "b.tar", tmp_path / "r", quiet)
    assert "secrets/default/token" in caught.value.message


def forged(
    path: Path, *entries: tarfile.TarInfo, manifest: dict[str, object] | None = None
) -> Path:
    with tarfile.open(path, "w") as archive:
        for entry in entries:
            archive.addfile(entry, io.BytesIO(b"x" * entry.size))
        text = json.dumps(manifest or {"format": 1, "version": "1", "time": 1, "files": {}})
        last = tarfile.TarInfo(MANIFEST)
        last.size = len(text)
        archive.addfile(last, io.BytesIO(text.encode()))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    made.size = 1 if kind == tarfile.REGTYPE else 0
    return made


@pytest.mark.parametrize(
    "bad",
    [
        entry("../outside"),
        entry("/etc/outside"),
        entry("journals/../../outside"),
        entry("journals/.hidden"),
        entry("drivers/local/x"),
        entry("unknown"),
        entry("journals/link", tarfile.SYMTYPE, "/etc/passwd"),
        entry("journals/hard", tarfile.LNKTYPE, "metastore.db"),
        entry("journals/device", tarfile.CHRTYPE),
        entry("journals"),
    ],
    ids=lambda each: each.name,
)
def test_a_backup_leads_nowhere_else(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    """Whoever made it: only plain files, only where backups have files."""
    source = forged(tmp_path / "b.tar", bad)
    with pytest.raises(DataLoss):
        restore(source, tmp_path / "r", quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar"]


def test_another_format_is_refused(tmp_path: Path) -> None:
    made = {"format": 9, "version": "9.9", "time": 1, "files": {}}
    source = forged(tmp_path / "b.tar", manifest=made)
    with pytest.raises(DataLoss) as caught:
        restore(source, tmp_path / "r", quiet)
    assert "9.9" in caught.value.message


def test_a_manifest_says_who_made_it() -> None:
    assert Manifest().format == 1
    assert Manifest().version
