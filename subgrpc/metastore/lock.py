"""The lock on a data folder: one server at a time, given up by the kernel when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from pathlib import Path

from subgrpc.errors import FailedPrecondition

LOCK_FILE = "lock"
CHILD_SECONDS = 10.0
"""Most seconds to wait for what a dead holder has left."""


class DirectoryLock:
    """An exclusive lock on a folder, held from construction to `release`."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder if there is none (mode 0700), and locks it.

        Raises:
            FailedPrecondition: DATA_DIR_LOCKED, with the holder's pid; DATA_DIR_UNUSABLE.
        """
        path = folder / LOCK_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(folder, error) from error
        try:
            self._take()
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            holder = self._holder()
            os.close(self._file)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise _locked(folder, holder) from error
            raise _unusable(folder, error) from error

    def _take(self) -> None:
        """Locks the file; waits for nobody but what a holder that was killed has left.

        A child that it was about to start has a copy of its descriptor, and with it the lock,
        until it executes its program: for a moment, or longer on a busy machine.
        """
        until = time.monotonic() + CHILD_SECONDS
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if _is_alive(self._holder()) or time.monotonic() > until:
                    raise
            time.sleep(0.01)

    def _holder(self) -> str:
        return os.pread(self._file, 32, 0).decode(errors="replace").strip()

    def release(self) -> None:
        """Gives the lock up."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)


def _is_alive(holder: str) -> bool:
    """Whether the process of that number is there, or nobody knows which one it is."""
    try:
        os.kill(int(holder), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OverflowError, PermissionError):
        return True
    return True


def _locked(folder: Path, holder: str) -> FailedPrecondition:
    who = f"process {holder}" if holder else "another process"
    return FailedPrecondition(
        f"the data folder {folder} is in use by {who}: stop that server, or use another folder",
        reason="DATA_DIR_LOCKED",
        metadata={"dataDir": str(folder), "pid": holder},
    )


def _unusable(folder: Path, error: OSError) -> FailedPrecondition:
    return FailedPrecondition(
        f"the data folder {folder} cannot be used: {error.strerror or error}",
        reason="DATA_DIR_UNUSABLE",
        metadata={"dataDir": str(folder)},
    )
