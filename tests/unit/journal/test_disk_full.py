from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from subgrpc.errors import Unavailable
from subgrpc.journal import JournalStore
from subgrpc.journal.frames import join

UID = "0" * 26


def everything(store: JournalStore) -> bytes:
    reader, position, found = store.reader(UID, 1), 0, b""
    while (batch := reader.read(position)).next != position:
        found += b"".join(join(run) for run in batch.runs)
        position = batch.next
    return found


def fill(ballast: Path) -> None:
    """Takes all room that is left."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "subgrpc-test", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_full_disk_costs_no_byte(small_disk: Path) -> None:
    """The append fails as a whole and says that it may be tried again; then it goes on."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    store = JournalStore(small_disk / "journals")
    log = store.writer(UID, 1)
    piece, known = b"0123456789abcdef" * 1000, 0
    with pytest.raises(Unavailable) as caught:  # noqa: PT012 - which append fails is the disk's
        for _ in range(100):
            log.append("main-0", 1, known, piece, 0)
            known += len(piece)
    assert caught.value.reason == "LOG_STORE_UNAVAILABLE"
    assert caught.value.retry_after
    assert log.offset("main-0", 1) == known > 0
    segment = small_disk / "journals" / UID / "1" / "000001.seg"
    assert segment.stat().st_size == store.reader(UID, 1).end & 0xFFFFFFFF
    assert everything(store) == piece * (known // len(piece))
    with pytest.raises(Unavailable):
        log.append("main-0", 1, known, piece, 0)
    ballast.unlink()
    log.append("main-0", 1, known, piece, 0)
    log.seal()
    assert everything(store) == piece * (known // len(piece) + 1)
    log.close()
    assert everything(JournalStore(small_disk / "journals")) == everything(store)


def test_a_disk_that_is_full_from_the_start(small_disk: Path) -> None:
    """Not even a segment can be begun; sealing fails too, and works later."""
    store = JournalStore(small_disk / "journals")
    log = store.writer(UID, 1)
    ballast = small_disk / "ballast"
    fill(ballast)
    for _ in range(2):
        with pytest.raises(Unavailable):
            log.append("main-0", 1, 0, b"x", 0)
        with pytest.raises(Unavailable):
            log.seal()
    assert not store.reader(UID, 1).sealed
    ballast.unlink()
    log.append("main-0", 1, 0, b"x", 0)
    log.seal()
    assert everything(store) == b"x"


LIMITED = """
    import resource, sys
    from pathlib import Path
    from subgrpc.errors import Unavailable
    from subgrpc.journal import JournalStore

    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 100_000))
    store = JournalStore(Path(sys.argv[1]))
    log = store.writer("0" * 26, 1)
    for number in range(100):
        try:
            log.append("main-0", 1, number * 3000, b"%03000d" % number, 0)
        except Unavailable:
            assert log.offset("main-0", 1) == number * 3000
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
            log.append("main-0", 1, number * 3000, b"%03000d" % number, 0)
            print(number)
            break
"""


def test_a_write_that_stops_in_the_middle_leaves_no_half_a_frame(tmp_path: Path) -> None:
    """A limit of the file's size cuts the write where it stands: the rest is taken back."""
    program = [sys.executable, "-c", textwrap.dedent(LIMITED), str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    count = int(done.stdout) + 1
    assert 10 < count < 20
    assert everything(JournalStore(tmp_path)) == b"".join(b"%03000d" % n for n in range(count))
