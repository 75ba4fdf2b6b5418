"""Where pulled files are put together, and how they come to their target."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from subgrpc.client.transfer.landing import Landing
from subgrpc.errors import FailedPrecondition, ResourceExhausted


def land(target: Path, content: str = "x", *, is_file: bool = False, text: str = "new") -> Landing:
    """A landing with one file in it."""
    landing = Landing(str(target), content, is_file=is_file)
    landing.open()
    (Path(landing.files) / "file").write_text(text)
    return landing


def left(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_new_target(tmp_path: Path) -> None:
    """A folder, in folders that are not there yet; nothing of it can be seen before."""
    target = tmp_path / "a" / "b" / "target"
    landing = land(target)
    assert not target.exists()
    landing.commit(replace=False)
    assert (target / "file").read_text() == "new"
    assert left(target.parent) == ["target"]
    assert oct(target.stat().st_mode) == oct(target.parent.stat().st_mode)


def test_an_empty_folder_is_no_hindrance(tmp_path: Path) -> None:
    """Whoever pulls may have made it before."""
    (tmp_path / "target").mkdir()
    landing = land(tmp_path / "target")
    assert landing.is_free()
    landing.commit(replace=False)
    assert left(tmp_path / "target") == ["file"]


@pytest.mark.parametrize("is_file", [False, True])
@pytest.mark.parametrize("there", ["folder", "file", "link"])
def test_what_is_there_is_kept(there: str, is_file: bool, tmp_path: Path) -> None:
    """Unless it is to be replaced; also if it came in the meantime."""
    target = tmp_path / "target"
    landing = land(target, is_file=is_file)
    if there == "folder":
        (target / "sub").mkdir(parents=True)
        (target / "sub" / "old").write_text("old")
        (target / "sub").chmod(0o500)
    elif there == "file":
        target.write_text("old")
    else:
        target.symlink_to("nowhere")
    assert not landing.is_free()
    with pytest.raises(FailedPrecondition) as refused:
        landing.commit(replace=False)
    assert refused.value.reason == "TARGET_EXISTS"
    assert target.is_symlink() or target.exists()
    landing.commit(replace=True)
    made = target if is_file else target / "file"
    assert made.read_text() == "new"
    assert left(tmp_path) == ["target"]


def test_replacing_without_renameat2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has it not, what was there goes aside first."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").write_text("old")
    land(target).commit(replace=True)
    assert left(target) == ["file"]
    land(tmp_path / "single", is_file=True).commit(replace=False)
    assert (tmp_path / "single").read_text() == "new"
    again = land(tmp_path / "single", "y", is_file=True)
    with pytest.raises(FailedPrecondition, match="exists"):
        again._add(os.path.join(again.files, "file"))
    assert left(tmp_path / "target") == ["file"]


def test_the_folder_that_the_caller_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stays that folder: a shell that is in it sees what was pulled."""
    target = tmp_path / "target"
    target.mkdir()
    monkeypatch.chdir(target)
    inode = target.stat().st_ino
    land(Path()).commit(replace=False)
    assert (left(target), target.stat().st_ino) == (["file"], inode)
    (target / "old").mkdir()
    again = land(Path(), "y", text="newer")
    assert not again.is_free()
    with pytest.raises(FailedPrecondition, match="exists"):
        again.commit(replace=False)
    again.commit(replace=True)
    assert (left(target), target.stat().st_ino) == (["file"], inode)
    assert (target / "file").read_text() == "newer"
    assert left(tmp_path) == ["target"]


def test_a_mount_point(tmp_path: Path) -> None:
    """Its files are put together within it: no other place is on the same file system."""
    target = tmp_path / "volume"
    target.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "subgrpc-test", str(target)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        (target / "lost+found").mkdir()
        landing = land(target)
        assert landing.is_free()
        assert left(tmp_path) == ["volume"]
        landing.commit(replace=False)
        assert left(target) == ["file", "lost+found"]
        land(target, "y", text="newer").commit(replace=True)
        assert (target / "file").read_text() == "newer"
    finally:
        subprocess.run(["umount", "-l", target], check=True)


def test_what_was_left_is_taken_up(tmp_path: Path) -> None:
    """By a pull of the same to the same target, and by no other."""
    land(tmp_path / "target").close()
    again = Landing(str(tmp_path / "target"), "x", is_file=False)
    again.open()
    assert again.is_taken_up
    assert left(Path(again.files)) == ["file"]
    for target, content in ((tmp_path / "target", "y"), (tmp_path / "other", "x")):
        other = Landing(str(target), content, is_file=False)
        other.open()
        assert not other.is_taken_up


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """A second one is told so; a dead one is in nobody's way."""
    landing = land(tmp_path / "target")
    script = (
        "import sys; from subgrpc.client.transfer.landing import Landing\n"
        f"Landing({str(tmp_path / 'target')!r}, 'x', is_file=False).open()"
    )
    refused = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert b"another process is pulling the same" in refused.stderr
    landing.close()
    subprocess.run([sys.executable, "-c", script], check=True)
    Landing(str(tmp_path / "target"), "x", is_file=False).open()


def test_somebody_elses_folder_is_not_used(tmp_path: Path) -> None:
    """In a folder that many may write to, others may have made it, as a trap."""
    landing = Landing(str(tmp_path / "target"), "x", is_file=False)
    os.symlink(tmp_path, landing.folder)
    with pytest.raises(PermissionError):
        landing.open()
    os.unlink(landing.folder)
    os.mkdir(landing.folder, 0o777)
    os.chmod(landing.folder, 0o777)
    with pytest.raises(PermissionError):
        landing.open()


def test_a_lack_of_room_is_told_before(tmp_path: Path) -> None:
    """Not after hours."""
    landing = land(tmp_path / "target")
    landing.need(1)
    with pytest.raises(ResourceExhausted) as refused:
        landing.need(1 << 60)
    assert refused.value.reason == "LOCAL_DISK_FULL"


@pytest.fixture
def caseless(tmp_path: Path) -> Iterator[Path]:
    """A file system that ignores case."""
    image, folder = tmp_path / "image", tmp_path / "mounted"
    folder.mkdir()
    with open(image, "wb") as file:
        file.truncate(8 << 20)
    try:
        for words in (["mkfs.vfat", image], ["mount", "-o", "loop,utf8", image, folder]):
            subprocess.run(words, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no FAT file system can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_names_that_are_one_here(tmp_path: Path) -> None:
    """A file system that tells all names apart has no collision."""
    assert land(tmp_path / "target").collision(["README", "readme", "e\u0301"]) is None


def test_names_that_are_one_on_fat(caseless: Path) -> None:
    """Files would replace each other silently."""
    landing = Landing(str(caseless / "target"), "x", is_file=False)
    landing.open()
    assert landing.collision(["README", "readme"]) == ("README", "readme")
    assert landing.collision(["a", "b"]) is None
    landing.close()
