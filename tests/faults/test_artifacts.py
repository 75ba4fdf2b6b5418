"""Servers that are killed while artifacts come and go: nothing acknowledged is lost or changed."""

from __future__ import annotations

import hashlib
import random
import subprocess
import threading
import time
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


def killing(own: Cli, child: subprocess.Popen[bytes], pauses: list[float]) -> int:
    """Kills the server again and again while a command runs; returns how often."""
    port, kills = own.port, 0
    for pause in pauses:
        time.sleep(pause)
        if child.poll() is not None:
            break
        own.kill()
        own.up(port=port)
        kills += 1
    return kills


def ended(child: subprocess.Popen[bytes]) -> None:
    told = child.communicate(timeout=120)
    assert child.returncode == 0, told


def test_a_server_that_is_killed_again_and_again(own: Cli) -> None:
    """A push and a pull outlive every kill; what comes back is what went in, each file whole."""
    own.up()
    chance = random.Random(7)
    before = fill(own.folder / "source", 1)
    pushing = own.start("artifact", "push", "source", "--name", "killed")
    kills = killing(own, pushing, [chance.uniform(0.2, 0.6) for _ in range(KILLS)])
    ended(pushing)
    for pauses in [*([chance.uniform(0.3, 1.5)] for _ in range(KILLS)), []]:
        pulling = own.start("artifact", "pull", "killed", "back")
        kills += killing(own, pulling, pauses)
        told = pulling.communicate(timeout=120)
        if pulling.returncode == 0:
            break
        # It may have met no server at its start; what has arrived by then is used again.
        assert b"SERVER_UNREACHABLE" in told[1], told
    assert kills, "the server was never killed while something was under way"
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
