"""A disk without room for what is to be fetched: real file systems of 1 MiB."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from subgrpc.errors import Unavailable
from subgrpc.journal import JournalStore

from .shelf import OUT, Shelf, output


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The folder of what is fetched is on a disk of its own."""
    folder = tmp_path / "journals" / ".fetched"
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "subgrpc-test", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_log_that_has_no_room_is_unavailable_and_leaves_nothing(
    shelf: Shelf, small_disk: Path
) -> None:
    """Once there is room it is read as if nothing had been."""
    data = b"0123456789abcdef" * 50_000
    uid = await shelf.ended("e", [("main-0", OUT, data)])
    await shelf.archive()
    await shelf.evict(uid)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(500_000))
    with pytest.raises(Unavailable) as caught:
        await shelf.read("e")
    assert caught.value.reason == "LOG_STORE_UNAVAILABLE"
    assert [path for path in (small_disk / uid).rglob("*") if path.is_file()] == []
    ballast.unlink()
    assert output(await shelf.read("e")) == data


def test_the_folder_is_the_one_that_a_store_of_journals_has(tmp_path: Path) -> None:
    """So that the disk above is the right one: it is emptied at the start."""
    left = tmp_path / "journals" / ".fetched" / "x" / "1" / "000001.seg"
    left.parent.mkdir(parents=True)
    left.touch()
    JournalStore(tmp_path / "journals").forget_fetched()
    assert not left.exists()
