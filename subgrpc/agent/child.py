"""Starts the user's process: fork, a few steps, exec; what fails is told exactly."""

from __future__ import annotations

import os

from . import libc, signals
from .request import Request

DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"


class StartError(Exception):
    """The process could not be started.

    Attributes:
        step: what failed: `chdir`, `exec`, `cgroup`, ….
        errno: the system's error number.
    """

    def __init__(self, step: str, errno: int) -> None:
        super().__init__(f"{step}: {os.strerror(errno)}")
        self.step = step
        self.errno = errno


def start(request: Request, stdout: int, stderr: int, cgroup_procs: str = "") -> int:
    """Starts a process in a session of its own; returns its pid once it executes the command.

    Args:
        request: what to start.
        stdout: descriptor that becomes its standard output.
        stderr: descriptor that becomes its standard error.
        cgroup_procs: the file of the control group that it joins first.

    Raises:
        StartError: there is no such command, for example.
    """
    parent = os.getpid()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        raise StartError("fork", error.errno or 0) from error
    if pid == 0:
        _become(request, parent, stdout, stderr, cgroup_procs, writer)
    os.close(writer)
    failure = os.read(reader, 100)
    os.close(reader)
    if failure:
        os.waitpid(pid, 0)
        step, errno = failure.decode().split()
        raise StartError(step, int(errno))
    return pid


def candidates(command: bytes, env: dict[bytes, bytes]) -> list[bytes]:
    """Returns the files that a command may mean: itself if it has a slash, else along PATH."""
    if b"/" in command:
        return [command]
    folders = env.get(b"PATH", DEFAULT_PATH).split(b":")
    return [os.path.join(folder or b".", command) for folder in folders] if command else []


def _become(
    request: Request, parent: int, stdout: int, stderr: int, cgroup_procs: str, writer: int
) -> None:
    """Turns the forked child into the user's process; never returns."""
    step = "setsid"
    try:
        os.setsid()
        step = "prctl"
        libc.die_with_parent(signals.signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        if cgroup_procs:
            step = "cgroup"
            descriptor = os.open(cgroup_procs, os.O_WRONLY | os.O_CLOEXEC)
            os.write(descriptor, b"0")
            os.close(descriptor)
        step = "chdir"
        os.chdir(request.cwd)
        step = "dup"
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        signals.reset()
        step = "exec"
        _execute(request)
    except OSError as error:
        os.write(writer, b"%s %d" % (step.encode(), error.errno or 0))
    finally:
        os._exit(127)


def _execute(request: Request) -> None:
    """Tries every file that the command may mean, as execvp(3) does."""
    refused: OSError | None = None
    for path in candidates(request.args[0], request.env):
        try:
            os.execve(path, request.args, request.env)  # noqa: S606 - the user's own command
        except (FileNotFoundError, NotADirectoryError) as error:
            missing = error
        except PermissionError as error:
            refused = error
        else:  # execve does not return
            break
        if refused is None and b"/" in request.args[0]:
            raise missing
    if refused is not None:
        raise refused
    raise FileNotFoundError(2, "no such command")
