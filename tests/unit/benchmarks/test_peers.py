"""What starts peers, and ends them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.peers import install, keeper
from benchmarks.peers.catalogue import PEERS
from benchmarks.report import Skipped

SECONDS = 20.0
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
    os._exit(0)
os.wait()
time.sleep(float(sys.argv[1]))
"""
"""Leaves a process with another session and no parent behind, says which, and goes on."""


def _keep(seconds: float) -> tuple[subprocess.Popen[str], int]:
    child = subprocess.Popen(
        [sys.executable, "-I", keeper.__file__, sys.executable, "-c", DAEMON, str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    return child, int(child.stdout.readline())


def _is_gone(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


def test_keeper_ends_daemons_with_their_program() -> None:
    """What a peer leaves behind in another session is gone when the peer has ended."""
    child, daemon = _keep(0)
    assert child.wait(SECONDS) == 0
    assert _is_gone(daemon)


def test_keeper_ends_everything_when_asked() -> None:
    """SIGTERM ends the program and its daemons, and nothing of it is left to others to reap."""
    child, daemon = _keep(60)
    child.terminate()
    assert child.wait(SECONDS) == 128
    assert _is_gone(daemon)


def test_keeper_ends_everything_when_its_parent_is_killed() -> None:
    """A benchmark that is killed leaves no servers behind."""
    kept = [sys.executable, "-I", keeper.__file__]
    program = f"import subprocess, sys; subprocess.run({kept!r} + sys.argv[1:])"
    parent = subprocess.Popen(
        [sys.executable, "-c", program, sys.executable, "-c", DAEMON, "60"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    daemon = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait(SECONDS)
    end = time.monotonic() + SECONDS
    while not _is_gone(daemon):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_descendants_are_found_at_any_depth() -> None:
    """What is weighed and killed are all processes below a server, daemons too."""
    child, daemon = _keep(60)
    assert daemon in keeper.descendants(child.pid)
    keeper.kill(child.pid)
    assert child.wait(SECONDS) == -signal.SIGKILL % 256
    assert _is_gone(daemon)


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_has_pinned_requirements(name: str) -> None:
    """Versions have an upper bound, and no address says where they come from."""
    text = (install.REQUIREMENTS / f"{name}.txt").read_text()
    lines = [each for each in text.splitlines() if not each.startswith("#")]
    assert lines
    assert all(">=" in each and "<" in each and "/" not in each for each in lines)


def test_peer_that_cannot_be_installed_is_skipped_with_the_reason(tmp_path: Path) -> None:
    """It is no failure of ours."""
    with pytest.raises(Skipped, match=r"cannot be installed: .*nobody\.txt"):
        install.interpreter("nobody", tmp_path)
