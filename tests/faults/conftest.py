"""What the tests of faults share: servers as a user has them, and what can be done to them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli, own

__all__ = ["own"]


def state_of(pid: int) -> str:
    """The letter of a process's state; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def supervisor_of(cli: Cli, name: str, task: str = "main-0") -> int:
    """The pid of the supervisor of a task of an experiment's first attempt."""
    uid = cli.json("get", name)["uid"]
    claim = next(cli.data.glob(f"drivers/*/runs/{uid}/1/{task}/claim"))
    return int(claim.read_text().split()[0])


class Stopped:
    """Processes that were stopped by SIGSTOP; all go on in the end."""

    def __init__(self) -> None:
        self._pids: list[int] = []

    def __call__(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        self._pids.append(pid)

    def resume(self) -> None:
        """Lets all of them go on."""
        for pid in self._pids:
            if state_of(pid):
                os.kill(pid, signal.SIGCONT)
        self._pids.clear()


@pytest.fixture
def stop() -> Iterator[Stopped]:
    """`stop(pid)` stops a process; `stop.resume()` lets it go on."""
    made = Stopped()
    yield made
    made.resume()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "subgrpc-test", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
