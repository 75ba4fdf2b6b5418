"""What can go wrong on the side of whoever pushes and pulls."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from subgrpc.client import Client, Progress
from subgrpc.errors import FailedPrecondition, ResourceExhausted
from tests.rpc.transfers.test_round_trip import bytes_of, tree

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    root.mkdir()
    for number in range(6):
        (root / f"{number}").write_bytes(bytes_of(number, MIB))
    return root


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "subgrpc-test", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk(client: Client, folder: Path, small_disk: Path) -> None:
    """Is told before anything comes; or when it happens, and then nothing can be seen."""
    name = client.artifacts.push(folder).artifact.name
    filler = small_disk / "filler"
    filler.write_bytes(bytes(3 * MIB))
    with pytest.raises(ResourceExhausted) as refused:
        client.artifacts.pull(name, small_disk / "pulled")
    assert refused.value.reason == "LOCAL_DISK_FULL"
    filler.unlink()

    def fill(progress: Progress) -> None:
        if progress.phase == "receiving" and not filler.exists():
            filler.write_bytes(bytes(4 * MIB))

    with pytest.raises(ResourceExhausted) as refused:
        client.artifacts.pull(name, small_disk / "pulled", on_progress=fill)
    assert refused.value.reason == "LOCAL_DISK_FULL"
    assert not (small_disk / "pulled").exists()
    filler.unlink()
    pulled = client.artifacts.pull(name, small_disk / "pulled")
    assert pulled.received_bytes < 6 * MIB  # the rest had come before
    assert tree(small_disk / "pulled") == tree(folder)


def test_a_file_that_changes_while_it_is_pushed(client: Client, folder: Path) -> None:
    """Is an error that names it; no artifact is made of a mixture."""
    before = len(list(client.list_artifacts()))

    def change(progress: Progress) -> None:
        if progress.phase == "sending":
            (folder / "3").write_bytes(b"another")

    with pytest.raises(FailedPrecondition) as refused:
        client.artifacts.push(folder, on_progress=change)
    assert refused.value.reason == "FILE_CHANGED"
    assert str(folder / "3") in refused.value.message
    assert len(list(client.list_artifacts())) == before


def test_a_file_that_cannot_be_read(client: Client, folder: Path) -> None:
    """Or is gone: the system's own error, with its name."""

    def remove(progress: Progress) -> None:
        if progress.phase == "sending":
            (folder / "3").unlink(missing_ok=True)

    with pytest.raises(FileNotFoundError) as missing:
        client.artifacts.push(folder, on_progress=remove)
    assert missing.value.filename == str(folder / "3")


def test_a_target_that_cannot_be_made(client: Client, folder: Path, tmp_path: Path) -> None:
    """Below a file, say."""
    name = client.artifacts.push(folder).artifact.name
    with pytest.raises(FileExistsError):
        client.artifacts.pull(name, folder / "1" / "below")


def test_memory_is_bounded(address: str, tmp_path: Path) -> None:
    """However much is pushed, the client takes about as much memory: here below 110 MB."""
    source = tmp_path / "large"
    with open(source, "wb") as file:
        for number in range(10):
            file.write(bytes_of(number, 40 * MIB))
    script = (
        "import sys; from subgrpc.client import Client\n"
        "with Client(sys.argv[1]) as client: client.artifacts.push(sys.argv[2])\n"
        "status = open('/proc/self/status').read()\n"
        "print(status.partition('VmHWM:')[2].split()[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, address, str(source)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) * 1024 < 110_000_000
