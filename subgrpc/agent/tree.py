"""Every process of a task: found by parentage, so that neither setsid nor a double fork hides one.

The supervisor is a child subreaper: whatever the user's processes leave behind becomes its child.
"""

from __future__ import annotations

import os

from .signals import signal

_ROUNDS = 100
"""Freezing rounds before killing goes on regardless: a fork bomb may outrun them."""


def descendants(root: int) -> list[int]:
    """Returns the pids of all living descendants of a process, parents first."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            parent, state = _parent(name)
            # A zombie needs no signal, and its children have been given away already.
            if parent and state != b"Z":
                children.setdefault(parent, []).append(int(name))
    found = list(children.get(root, ()))
    for pid in found:  # grows while it is walked
        found.extend(children.get(pid, ()))
    return found


def terminate(root: int) -> None:
    """Sends SIGTERM to all descendants, and SIGCONT so that a stopped one can act on it."""
    for pid in descendants(root):
        send(pid, signal.SIGTERM)
        send(pid, signal.SIGCONT)


def kill(root: int) -> None:
    """Kills all descendants.

    First they are all frozen, so that none can fork behind our back; then killed.
    """
    frozen: set[int] = set()
    for _ in range(_ROUNDS):
        fresh = [pid for pid in descendants(root) if pid not in frozen]
        if not fresh:
            break
        for pid in fresh:
            send(pid, signal.SIGSTOP)
        frozen.update(fresh)
    for pid in frozen:  # frozen, or children of frozen ones: no other process has their pids
        send(pid, signal.SIGKILL)


def send(pid: int, number: int) -> None:
    """Sends a signal; a process that is gone, or became another user's, is left alone."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _parent(pid: str) -> tuple[int, bytes]:
    """Returns a process's parent and state; (0, b"") if it is gone."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0, b""
    try:
        fields = os.read(descriptor, 1024).rpartition(b")")[2].split()
        return int(fields[1]), fields[0]
    except (OSError, IndexError):
        return 0, b""
    finally:
        os.close(descriptor)
