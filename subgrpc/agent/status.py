"""How a task stands, as a small JSON file that is replaced as a whole.

`{"state": "running", "pid": 7, …}`, then `{"state": "ended", …}`, which is final: it is written
when no process of the task is left. The state of an ended task is its `outcome`.
"""

from __future__ import annotations

import os

FILE = "status.json"
CLAIM = "claim"
LOCK = "lock"
STOP = "stop"
STDOUT = "stdout"
STDERR = "stderr"

_ESCAPES = {ord('"'): '\\"', ord("\\"): "\\\\", 0x7F: "\\u007f"}
_ESCAPES.update({code: f"\\u{code:04x}" for code in range(0x20)})


class Status:
    """What is known of a task.

    Attributes:
        state: `running` or `ended`.
        outcome: of an ended task: `succeeded`, `failed` or `cancelled`.
        reason: a CamelCase word; empty where there is nothing to explain.
        message: the same for a person.
        pid: the user's process; 0 before it started.
        exit_code: what it exited with; -1: it did not exit by itself.
        signal: the signal that ended it; 0: none did.
        start_ns: when it started, in ns since the epoch; 0: it did not.
        end_ns: when it ended.
    """

    __slots__ = (
        "end_ns",
        "exit_code",
        "message",
        "outcome",
        "pid",
        "reason",
        "signal",
        "start_ns",
        "state",
    )

    def __init__(self) -> None:
        self.state = "running"
        self.outcome = ""
        self.reason = ""
        self.message = ""
        self.pid = 0
        self.exit_code = -1
        self.signal = 0
        self.start_ns = 0
        self.end_ns = 0

    def end(self, outcome: str, reason: str = "", message: str = "") -> None:
        """Makes it final."""
        self.state = "ended"
        self.outcome = outcome
        self.reason = reason
        self.message = message


def to_json(status: Status) -> str:
    """Writes a status; by hand, since importing json costs 8 ms."""
    fields = []
    for name in status.__slots__:
        value = getattr(status, name)
        text = f'"{value.translate(_ESCAPES)}"' if isinstance(value, str) else str(value)
        fields.append(f'"{name}": {text}')
    return "{{{}}}".format(", ".join(fields))


def write(folder: str, status: Status) -> None:
    """Replaces the status file of a task's folder.

    Raises:
        OSError: such as a full disk; the file is what it was.
    """
    path = os.path.join(folder, FILE)
    # A name of its own: the driver writes too, when it finds that the supervisor has died.
    temporary = f"{path}.{os.getpid()}"
    data = to_json(status).encode("utf-8", "replace")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    os.rename(temporary, path)


def claim(folder: str) -> bool:
    """Takes the right to start the task's process: granted once, for good.

    The file names the one who has it: pid and start time, so that a signal never reaches another
    process that was given the same pid later.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(os.path.join(folder, CLAIM), flags, 0o600)
    except FileExistsError:
        return False
    try:
        os.write(descriptor, b"%d %d\n" % (os.getpid(), start_ticks(os.getpid())))
    finally:
        os.close(descriptor)
    return True


def stop_asked(folder: str) -> float | None:
    """Returns the grace in seconds if the task is to stop, else None."""
    try:
        with open(os.path.join(folder, STOP), "rb") as file:
            return float(file.read())
    except (OSError, ValueError):
        return None


def start_ticks(pid: int) -> int:
    """Returns when a process started, in clock ticks since boot; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return 0
