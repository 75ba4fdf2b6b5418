"""What the file store promises beyond the contract of all stores."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from subgrpc.artifacts import StoreSettings
from subgrpc.artifacts.filestore import FileStore
from subgrpc.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from subgrpc.plugins import PluginManager, open_store

KEY = "objects/ab/abcd.01"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "store"
    made.mkdir()
    return made


@pytest.fixture
def store(folder: Path) -> FileStore:
    made = open_store(StoreSettings("disk", folder.as_uri()), PluginManager())
    assert isinstance(made, FileStore)
    return made


def source(folder: Path, data: bytes) -> tuple[Path, int, bytes]:
    path = folder / "source"
    path.write_bytes(data)
    return path, len(data), hashlib.sha256(data).digest()


def content(store: FileStore, key: str = KEY) -> bytes:
    return b"".join(store.get(key))


def files(folder: Path) -> list[str]:
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


@pytest.mark.parametrize(
    "url",
    [
        "file:relative",
        "file://host/path",
        "file:///a?b=c",
        "file:///a#b",
        "file:",
        "/no/url",
        "file:///a%00b",
    ],
)
def test_urls_that_name_no_folder(url: str) -> None:
    """They are refused with the store's name, before anything is touched."""
    with pytest.raises(InvalidArgument, match="'disk'") as refused:
        open_store(StoreSettings("disk", url), PluginManager())
    assert refused.value.reason == "STORE_INVALID"
    assert refused.value.metadata == {"store": "disk"}


def test_it_has_no_options(folder: Path) -> None:
    """One that is misspelt, or meant for another store, is not ignored."""
    with pytest.raises(InvalidArgument, match="no option 'region'"):
        FileStore.from_settings(StoreSettings("disk", folder.as_uri(), {"region": "x"}))


def test_folders_with_odd_names(tmp_path: Path) -> None:
    """A URL's percent signs are decoded."""
    folder = tmp_path / "über ort%20"
    folder.mkdir()
    FileStore.from_settings(StoreSettings("disk", folder.as_uri())).check()
    assert (folder / ".incoming").is_dir()


def test_checks_that_were_killed(folder: Path, store: FileStore) -> None:
    """What they have left goes with a later check; that of one that is just made stays."""
    store.check()
    (folder / "check" / "old").touch()
    (folder / "check" / "new").touch()
    os.utime(folder / "check" / "old", (1e9, 1e9))
    store.check()
    assert [each.key for each in store.list()] == ["check/new"]


def test_a_folder_that_is_not_there(folder: Path, store: FileStore) -> None:
    """Every call says so; none says that there is no such object, and none makes the folder."""
    folder.rmdir()
    path, size, digest = source(folder.parent, b"x")
    for call in (
        store.check,
        lambda: store.stat(KEY),
        lambda: content(store),
        lambda: store.delete(KEY),
        lambda: list(store.list()),
        lambda: store.put(KEY, path, size, digest),
        lambda: store.abandoned(timedelta()),
    ):
        with pytest.raises(FailedPrecondition, match=r"'disk'.*No such file") as refused:
            call()
        assert refused.value.reason == "STORE_MISCONFIGURED"
    assert not folder.exists()


def test_a_file_system_that_is_no_longer_mounted(folder: Path, store: FileStore) -> None:
    """An empty mount point is no store without objects, and nothing is written to it."""
    path, size, digest = source(folder.parent, b"content")
    store.put(KEY, path, size, digest)
    folder.rename(folder.parent / "elsewhere")
    folder.mkdir()
    for call in (
        lambda: store.stat(KEY),
        lambda: content(store),
        lambda: store.delete(KEY),
        lambda: list(store.list()),
        lambda: store.put(KEY, path, size, digest),
    ):
        with pytest.raises(FailedPrecondition, match="is it mounted") as refused:
            call()
        assert refused.value.reason == "STORE_MISCONFIGURED"
    assert list(folder.iterdir()) == []
    folder.rmdir()
    (folder.parent / "elsewhere").rename(folder)
    assert content(store) == b"content"


def test_taking_moves_the_file(folder: Path, store: FileStore) -> None:
    """Nothing is copied, it is the owner's alone, and its age is that of the put."""
    path, size, digest = source(folder.parent, b"content")
    path.chmod(0o666)
    os.utime(path, (1e9, 1e9))
    number = path.stat().st_ino
    store.put(KEY, path, size, digest, take=True)
    assert not path.exists()
    kept = (folder / KEY).stat()
    assert (kept.st_ino, kept.st_mode & 0o777) == (number, 0o600)
    found = store.stat(KEY)
    assert found is not None
    assert found.time.timestamp() > 1.6e9
    assert store.abandoned(timedelta()) == 0


def test_what_others_hold_is_copied(folder: Path, store: FileStore) -> None:
    """A hard link could be changed later through its other name; a symbolic link is not a file."""
    path, size, digest = source(folder.parent, b"content")
    (folder.parent / "hard").hardlink_to(path)
    (folder.parent / "soft").symlink_to(path)
    store.put("objects/ab/hard", folder.parent / "hard", size, digest, take=True)
    store.put("objects/ab/soft", folder.parent / "soft", size, digest, take=True)
    path.write_bytes(b"changed")
    assert content(store, "objects/ab/hard") == content(store, "objects/ab/soft") == b"content"
    assert not (folder / "objects/ab/soft").is_symlink()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no second file system")
def test_taking_from_another_file_system(folder: Path, store: FileStore) -> None:
    """The file is copied, with its digest checked, and then it is gone."""
    other = Path("/dev/shm") / f"subgrpc-{os.getpid()}-{time.monotonic_ns()}"
    other.write_bytes(b"content")
    if other.stat().st_dev == folder.stat().st_dev:
        pytest.skip("no second file system")
    try:
        with pytest.raises(InvalidArgument):
            store.put(KEY, other, 7, b"x" * 32, take=True)
        store.put(KEY, other, 7, hashlib.sha256(b"content").digest(), take=True)
        assert not other.exists()
    finally:
        other.unlink(missing_ok=True)
    assert content(store) == b"content"


def test_symbolic_links_lead_nowhere(folder: Path, store: FileStore) -> None:
    """Whoever may write to the folder cannot make the store touch what is outside of it."""
    store.check()
    outside = folder.parent / "outside"
    (outside / "ab").mkdir(parents=True)
    (outside / "ab" / "abcd.01").write_text("secret")
    (folder / "objects").symlink_to(outside)
    path, size, digest = source(folder.parent, b"x")
    for call in (
        lambda: store.stat(KEY),
        lambda: content(store),
        lambda: store.delete(KEY),
        lambda: store.put(KEY, path, size, digest),
    ):
        with pytest.raises(FailedPrecondition) as refused:
            call()
        assert refused.value.reason == "STORE_MISCONFIGURED"
    assert list(store.list()) == []
    assert files(outside) == ["ab/abcd.01"]
    (folder / "objects").unlink()
    (folder / "objects" / "ab").mkdir(parents=True)
    (folder / KEY).symlink_to(outside / "ab" / "abcd.01")
    for call in (lambda: store.stat(KEY), lambda: content(store)):
        with pytest.raises(FailedPrecondition):
            call()
    assert list(store.list()) == []
    store.delete(KEY)
    assert files(outside) == ["ab/abcd.01"]


def test_a_pipe_among_the_objects_blocks_nobody(folder: Path, store: FileStore) -> None:
    """It is named as what does not belong there."""
    store.check()
    (folder / "objects" / "ab").mkdir(parents=True)
    os.mkfifo(folder / KEY)
    for call in (lambda: store.stat(KEY), lambda: content(store)):
        with pytest.raises(FailedPrecondition, match="no ordinary file"):
            call()


def test_an_object_that_is_cut_off_while_it_is_read(folder: Path, store: FileStore) -> None:
    """What is missing is an error, not an end."""
    path, size, digest = source(folder.parent, bytes(3 << 20))
    store.put(KEY, path, size, digest)
    reader = store.get(KEY)
    assert len(next(reader)) == 1 << 20
    os.truncate(folder / KEY, 1 << 20)
    with pytest.raises(DataLoss, match=f"{KEY!r}.*ends at byte 1048576"):
        next(reader)


def test_an_object_of_another_size_stays(folder: Path, store: FileStore) -> None:
    """A damaged object is not taken for what is put, and not overwritten."""
    path, size, digest = source(folder.parent, b"content")
    store.put(KEY, path, size, digest)
    os.truncate(folder / KEY, 3)
    with pytest.raises(AlreadyExists, match="3 bytes already") as refused:
        store.put(KEY, path, size, digest)
    assert refused.value.reason == "OBJECT_EXISTS"
    assert content(store) == b"con"


def test_a_shard_that_somebody_removed_is_made_again(folder: Path, store: FileStore) -> None:
    """Tidying up empty folders does no harm."""
    path, size, digest = source(folder.parent, b"content")
    store.put(KEY, path, size, digest)
    store.delete(KEY)
    (folder / "objects" / "ab").rmdir()
    (folder / "objects").rmdir()
    store.put(KEY, path, size, digest)
    assert content(store) == b"content"


def test_a_source_that_cannot_be_read(folder: Path, store: FileStore) -> None:
    """It is not the store that is to blame, nor anything left in it."""
    with pytest.raises(InvalidArgument, match="No such file") as refused:
        store.put(KEY, folder.parent / "missing", 1, b"")
    assert refused.value.reason == "UNREADABLE"
    with pytest.raises(InvalidArgument, match="directory"):
        store.put(KEY, folder.parent, folder.parent.stat().st_size, b"")
    assert files(folder) == []


def test_what_others_put_there(folder: Path, store: FileStore) -> None:
    """It is not listed, so that nobody sweeps it."""
    path, size, digest = source(folder.parent, b"x")
    store.put(KEY, path, size, digest)
    for name in ("Notes.txt", ".hidden", "objects/ab/My File", "objects/ab/.nfs0001"):
        (folder / name).touch()
    assert [each.key for each in store.list()] == [KEY]


KILLED = """
import hashlib, itertools, sys
from pathlib import Path
from subgrpc.artifacts import StoreSettings
from subgrpc.artifacts.filestore import FileStore
store, source = FileStore.from_settings(StoreSettings("disk", sys.argv[1])), Path(sys.argv[2])
how, take = sys.argv[3], sys.argv[3] == "take"
data = source.read_bytes()
digest = hashlib.sha256(data).digest()
print("ready", flush=True)
for n in itertools.count():
    if take:
        source.write_bytes(data)
    store.put(f"objects/{n % 7:02}/{how}.{n}", source, len(data), digest, take=take)
    print(n, flush=True)
"""


@pytest.mark.parametrize("how", ["copy", "take"])
def test_a_writer_that_is_killed(folder: Path, store: FileStore, how: str) -> None:
    """Whenever that is: what was put is whole, and nothing else looks like an object."""
    data = os.urandom(3 << 20)
    for attempt in range(8):
        path, _, _ = source(folder.parent, data)
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, folder.as_uri(), str(path), how],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.003 * attempt**2)
        child.kill()
        said = child.stdout.read().split()
        child.wait()
        child.stdout.close()
        kept = {each.key: each.size for each in store.list()}
        assert set(kept.values()) <= {len(data)}
        for number in said:
            assert content(store, f"objects/{int(number) % 7:02}/{how}.{number}") == data
        for key in kept:
            store.delete(key)
    left = len(os.listdir(folder / ".incoming"))
    assert store.abandoned(timedelta(hours=1)) == 0
    assert store.abandoned(timedelta()) == left
    assert files(folder) == []


def test_objects_that_vanish_under_a_list(folder: Path, store: FileStore) -> None:
    """The rest is listed."""
    path, size, digest = source(folder.parent, b"x")
    for shard in ("aa", "bb", "cc"):
        for n in range(3):
            store.put(f"objects/{shard}/{n}", path, size, digest)
    found = store.list()
    first = next(found)
    gone = "aa" if "/aa/" not in first.key else "bb"
    for n in range(3):
        store.delete(f"objects/{gone}/{n}")
    assert len([first, *found]) == 6
    with pytest.raises(NotFound):
        content(store, f"objects/{gone}/0")
