"""Servers that are killed while artifacts come and go: nothing acknowledged is lost or changed."""

from __future__ import annotations

import contextlib
import hashlib
import random
import subprocess
import threading
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli

pytestmark = pytest.mark.timeout(170)

LARGE = 48 << 20
"""Bytes of a file that is cut into about ten chunks."""
KILLS = 6


def fill(folder: Path, seed: int) -> dict[str, str]:
    """A large file and many small ones; their digests by path."""
    make = random.Random(seed)
    folder.mkdir()
    (folder / "large.bin").write_bytes(make.randbytes(LARGE))
    for number in range(300):
        (folder / f"small-{number:03}").write_bytes(make.randbytes(make.randrange(20_000)))
    return digests(folder)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def outlived(own: Cli, chance: random.Random, *words: str) -> int:
    """Runs a command to its end while its server is killed again and again; returns how often."""
    port, kills = own.port, 0
    while True:
        child = own.start(*words)
        while kills < KILLS and child.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(chance.uniform(0.2, 1.0))
                break
            own.kill()
            own.up(port=port)
            kills += 1
        told = child.communicate(timeout=120)
        if child.returncode == 0:
            return kills
        # It met no server at its start; what has arrived by then is used again.
        assert b"SERVER_UNREACHABLE" in told[1], told


def ended(child: subprocess.Popen[bytes]) -> None:
    told = child.communicate(timeout=120)
    assert child.returncode == 0, told


def test_a_server_that_is_killed_again_and_again(own: Cli) -> None:
    """A push and a pull outlive every kill; what comes back is what went in, each file whole."""
    own.up()
    chance = random.Random(7)
    before = fill(own.folder / "source", 1)
    assert outlived(own, chance, "artifact", "push", "source", "--name", "killed")
    assert outlived(own, chance, "artifact", "pull", "killed", "back")
    assert digests(own.folder / "back") == before
    own("artifact", "verify", "killed", code=0)


def test_two_who_push_the_same_at_once(own: Cli) -> None:
    """Two pushes of one folder, and a garbage collection meanwhile, do not disturb each other."""
    own.up()
    before = fill(own.folder / "source", 2)
    done = threading.Event()

    def collect() -> None:
        while not done.wait(1.0):
            own("artifact", "gc", "--grace", "0s")

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        pushes = [own.start("artifact", "push", "source", "--name", name) for name in ("a", "b")]
        for each in pushes:
            ended(each)
    finally:
        done.set()
        collector.join()
    for name in ("a", "b"):
        own("artifact", "pull", name, f"back-{name}", code=0)
        assert digests(own.folder / f"back-{name}") == before
    own("artifact", "rm", "--yes", "a", code=0)
    own("artifact", "gc", "--grace", "0s", code=0)
    own("artifact", "gc", "--grace", "0s", code=0)
    own("artifact", "verify", "b", code=0)
