"""The lock on a data folder: exclusive while its holder lives, and not a moment longer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from subgrpc.errors import FailedPrecondition
from subgrpc.metastore.lock import DirectoryLock

HOLDER = """
import os, sys
from pathlib import Path
from subgrpc.metastore.lock import DirectoryLock

lock = DirectoryLock(Path(sys.argv[1]))
reading, writing = os.pipe()
if os.fork() == 0:  # as a child that is just being started: it has not executed anything yet
    os.close(writing)
    os.close(1)
    os.read(reading, 1)  # until its parent is dead
    import time
    time.sleep(0.3)
    os._exit(0)
print("locked", flush=True)
signal = sys.stdin.readline()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the lock, with a child that has a copy of it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_living_holder_is_named(tmp_path: Path) -> None:
    """Whoever comes second is refused, and told who was first."""
    with holder(tmp_path) as process:
        with pytest.raises(FailedPrecondition) as refused:
            DirectoryLock(tmp_path)
        assert refused.value.reason == "DATA_DIR_LOCKED"
        assert refused.value.metadata["pid"] == str(process.pid)
        process.kill()


def test_what_a_killed_holder_leaves_is_waited_for(tmp_path: Path) -> None:
    """A server that is started right after a kill is not refused for a half-started child."""
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        lock = DirectoryLock(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()
