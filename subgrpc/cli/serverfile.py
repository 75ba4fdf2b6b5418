"""`server.json` in a data folder: which process serves it, so that `down` ends no other.

A process id alone is not enough: after a crash the system gives it to somebody else. So the time
at which the process started is kept with it.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

_NAME = "server.json"
LOG_NAME = "server.log"
"""Where a detached server writes its log."""


@dataclass(frozen=True, slots=True)
class ServerFile:
    """A server that runs, or ran.

    Attributes:
        pid: its process.
        started: when that process started, in whatever form this system tells it.
        addresses: where it listens.
        version: of subgrpc.
    """

    pid: int
    started: str
    addresses: list[str]
    version: str

    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        return bool(self.started) and start_time(self.pid) == self.started


def write(data_dir: Path, addresses: list[str], version: str) -> ServerFile:
    """Says that this process serves a folder."""
    pid = os.getpid()
    made = ServerFile(pid, start_time(pid), addresses, version)
    temporary = data_dir / f".{_NAME}.{pid}"
    temporary.write_text(json.dumps(asdict(made)), encoding="utf-8")
    temporary.replace(data_dir / _NAME)
    return made


def read(data_dir: Path) -> ServerFile | None:
    """The server that serves, or served, a folder; None: nothing that can be read says so."""
    try:
        raw = json.loads((data_dir / _NAME).read_text(encoding="utf-8"))
        return ServerFile(
            int(raw["pid"]), str(raw["started"]), list(raw["addresses"]), str(raw["version"])
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def remove(data_dir: Path) -> None:
    """Takes it back, if it is this process's own."""
    found = read(data_dir)
    if found is not None and found.pid == os.getpid():
        (data_dir / _NAME).unlink(missing_ok=True)


def start_time(pid: int) -> str:
    """When a process started; empty if it does not run (a zombie does not)."""
    if not os.path.isdir("/proc/self"):
        found = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return found.stdout.strip()
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
    # The name, in parentheses, may hold anything. Behind it stand state, 1st, and starttime, 20th.
    fields = raw.rpartition(b")")[2].split()
    return "" if fields[0] in (b"Z", b"X") else f"{boot}/{fields[19].decode()}"
