"""A command on a terminal: what somebody who sits there sees and types."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from typing import Any

from .conftest import BIN, Cli


class Terminal:
    """Runs a command with a terminal as stdin, stdout and stderr."""

    def __init__(self, cli: Cli, *words: str, columns: int = 80, **env: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.seen = b""
        self.process = subprocess.Popen(
            [BIN / "subgrpc", *words],
            env={**cli.env, "TERM": "xterm", **env},
            cwd=cli.folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def reads(self, text: bytes, seconds: float = 20.0) -> None:
        """Waits until something is shown; what was shown up to then is forgotten by the next."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"not shown: {text!r}; shown: {self.seen!r}"
            if select.select([self._ours], [], [], left)[0]:
                self.seen += self._read()

    def write(self, text: bytes) -> None:
        """Types something."""
        os.write(self._ours, text)

    def interrupt(self) -> None:
        """Types Ctrl-C."""
        self.seen = b""
        os.killpg(self.process.pid, signal.SIGINT)

    def ends(self, seconds: float = 20.0) -> int:
        """Waits for the end and returns the exit code."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"has not ended; shown: {self.seen!r}"
            if select.select([self._ours], [], [], 0.05)[0]:
                self.seen += self._read()
        while select.select([self._ours], [], [], 0)[0]:
            more = self._read()
            if not more:
                break
            self.seen += more
        return self.process.returncode

    def _read(self) -> bytes:
        with contextlib.suppress(OSError):  # nobody has the other end any more
            return os.read(self._ours, 65536)
        return b""
