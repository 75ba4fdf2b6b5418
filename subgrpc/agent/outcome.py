"""What the end of a process means, in a word for machines and a sentence for people."""

from __future__ import annotations

import errno
import os

from . import child
from .request import Request
from .signals import signal, signal_name
from .status import Status


def refuse(status: Status, request: Request, error: child.StartError) -> None:
    """The process could not be started; the exit codes are those that a shell would give."""
    command = os.fsdecode(request.args[0])
    if error.step != "exec":
        what = {"chdir": f"cannot enter the working directory {os.fsdecode(request.cwd)}"}
        text = what.get(error.step, f"cannot start the process ({error.step})")
        status.end("failed", "StartFailed", f"{text}: {os.strerror(error.errno)}")
    elif error.errno == errno.ENOENT:
        status.exit_code = 127
        status.end("failed", "CommandNotFound", _not_found(command, request))
    elif error.errno in (errno.EACCES, errno.ENOEXEC, errno.EISDIR):
        status.exit_code = 126
        why = "it is no program and has no #! line"
        if error.errno != errno.ENOEXEC:
            why = "permission denied; it is not an executable file"
        status.end("failed", "CommandNotExecutable", f"cannot execute {command!r}: {why}")
    else:
        why = os.strerror(error.errno)
        status.end("failed", "StartFailed", f"cannot execute {command!r}: {why}")


def explain(status: Status, limit: int, oom_kills: int) -> None:
    """The process ended by itself: `exit_code` or `signal` of the status says how."""
    if status.exit_code == 0:
        status.end("succeeded")
        return
    if status.signal:
        how = "killed by " + signal_name(status.signal)
    else:
        how = f"exit code {status.exit_code}"
        if 128 < status.exit_code < 128 + signal.NSIG:
            how += f" (128 + {signal_name(status.exit_code - 128)})"
    if oom_kills:
        text = f"{how}: it needed more than its memory limit of {_size(limit)}"
        status.end("failed", "OutOfMemory", text)
    elif status.signal:
        if status.signal == signal.SIGKILL and not limit:
            how += " (possibly out of memory)"
        status.end("failed", "Signal", how)
    else:
        status.end("failed", "ExitCode", how)


def _not_found(command: str, request: Request) -> str:
    for path in child.candidates(request.args[0], request.env):
        if os.path.isfile(os.path.join(request.cwd, path)):
            return f"cannot execute {command!r}: the interpreter in its #! line does not exist"
    if b"/" in request.args[0]:
        return f"command not found: {command!r} (in {os.fsdecode(request.cwd)})"
    search = os.fsdecode(request.env.get(b"PATH", child.DEFAULT_PATH))
    return f"command not found: {command!r} (PATH is {search})"


def _size(limit: int) -> str:
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if limit >= unit:
            return f"{limit / unit:.4g} {name}"
    return f"{limit} bytes"
