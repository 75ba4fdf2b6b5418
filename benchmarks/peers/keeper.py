"""Runs a program, and ends with it everything that it started, wherever that went.

    python -I benchmarks/peers/keeper.py [--log] COMMAND…

With --log, what the program prints goes where its errors go.

Peers start daemons in sessions of their own. The keeper is their subreaper (prctl(2)): whatever
loses its parent becomes its child, so that what was started can be found, weighed, and ended
without asking by name. It ends all of it when the program ends, when it gets SIGTERM, and when
its own parent dies. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
KIND_SECONDS = 12.0
"""A program that was asked to end has this long before it is killed."""


def descendants(pid: int) -> list[int]:
    """All processes below one, of any depth."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found, left = [], [pid]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def kill(pid: int) -> None:
    """Kills all processes below one (SIGKILL), until there are none that live."""
    while alive := [each for each in descendants(pid) if not _zombie(each)]:
        for each in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        time.sleep(0.02)


def main() -> int:
    """Returns the program's exit code, 128 if it was ended from outside."""
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((PR_SET_CHILD_SUBREAPER, 1), (PR_SET_PDEATHSIG, signal.SIGTERM)):
        if libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
    signal.signal(signal.SIGTERM, _asked)
    log, command = sys.argv[1] == "--log", sys.argv[1:]
    child = subprocess.Popen(command[log:], stdout=2 if log else None)
    try:
        return _reap_until(child)
    except _Asked:
        return 128
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end(child)


class _Asked(Exception):
    """SIGTERM came."""


def _asked(*_: object) -> None:
    raise _Asked


def _reap_until(child: subprocess.Popen[bytes]) -> int:
    """Reaps orphans until the program itself has ended."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child.pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.returncode is None:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(KIND_SECONDS)
    kill(os.getpid())
    with contextlib.suppress(ChildProcessError):
        while True:  # each of them is ours now; whoever comes after us may not reap
            os.waitpid(-1, 0)


def _parent(entry: Path) -> int | None:
    with contextlib.suppress(OSError):
        # The name, in parentheses, may hold anything: what follows its end is counted.
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return None


def _zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    return True


if __name__ == "__main__":
    sys.exit(main())
