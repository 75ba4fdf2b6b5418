"""What is done about a task whose supervisor was killed: nothing of it is left running."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from subgrpc import faults, reasons
from subgrpc.agent import cgroup, status, tree
from subgrpc.driver.local.folders import AGENT_LOG, read_claim, was_claimed

_DEADLINE = 10.0
_PAUSE = 0.01


def signal_supervisor(folder: Path, number: signal.Signals) -> bool:
    """Sends a signal to a task's supervisor; False if it has not claimed the task (yet).

    One that its own task has stopped is made to go on, so that it can act on the signal.
    A process that was given the supervisor's pid later never gets it.
    """
    pid, ticks = read_claim(folder)
    if not pid:
        return False
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            if status.start_ticks(pid) == ticks:
                signal.pidfd_send_signal(handle, number)
                signal.pidfd_send_signal(handle, signal.SIGCONT)
        finally:
            os.close(handle)
    return True


def clean_up(uid: str, group: str) -> bool:
    """Kills all that is left of a task; False if something could not be killed in time. Blocks.

    Args:
        uid: the value of SUBGRPC_TASK_UID that marks the task's processes.
        group: its control group, or empty.
    """
    deadline = time.monotonic() + _DEADLINE
    while pids := _processes(uid, group):
        if time.monotonic() > deadline:
            return False
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                tree.send(pid, number)
        time.sleep(_PAUSE)
    if group:
        cgroup.remove(group)
    return True


def conclude_lost(folder: Path, clean: bool) -> None:
    """Writes the final status of a task whose supervisor died without one.

    Raises:
        OSError: the disk is full, for example.
    """
    faults.point("local.burying")
    final = status.Status()
    final.end_ns = time.time_ns()
    if status.stop_asked(str(folder)) is not None:
        final.end("cancelled", reasons.STOPPED, "stopped; its supervisor died meanwhile")
    elif not was_claimed(folder):
        final.end("failed", reasons.START_FAILED, f"the supervisor did not start{_why(folder)}")
    else:
        text = "the supervisor of the task died, and its processes were killed"
        if not clean:
            text = "the supervisor of the task died; some of its processes cannot be killed"
        final.end("failed", reasons.LOST, text + _why(folder))
    status.write(str(folder), final)


def _processes(uid: str, group: str) -> set[int]:
    """The processes with a task's mark, in its control group, or below one of those."""
    mark = f"SUBGRPC_TASK_UID={uid}".encode()
    found = set(cgroup.members(group)) if group else set()
    for name in os.listdir("/proc"):
        if name.isdigit() and mark in _environment(name).split(b"\0"):
            found.add(int(name))
    for pid in tuple(found):
        found.update(tree.descendants(pid))
    return found - {os.getpid()}


def _environment(pid: str) -> bytes:
    """A process's environment; empty if it is gone, a zombie, or another user's."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _why(folder: Path) -> str:
    """The last words of a supervisor."""
    try:
        lines = (folder / AGENT_LOG).read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return f": {lines[-1][:500]}" if lines else ""
