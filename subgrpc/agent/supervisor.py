"""Supervises one task: starts the user's process, stops it when asked, reports how it ended.

It runs detached from the server, in a session of its own, one for each task:

    python -I -S -c BOOT <parent of the package> <task folder> <lock descriptor>  < request

The lock was taken by whoever started it and is held until it dies: a free lock without a final
status means that the supervisor was killed. What is imported before the user's process starts is
the user's waiting time: only modules that are small, or built into the interpreter.
"""

from __future__ import annotations

import os
import time

from . import cgroup, child, libc, status, tree
from .request import Request, decode
from .signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .outputs import Outputs

LEFTOVER_GRACE = 2.0
"""Most seconds that processes get which the user's main process has left behind."""
_KILL_AGAIN = 0.02
_KILL_SELDOM = 1.0
_WRITE_AGAIN = 0.5

_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(folder: str, lock: str) -> None:
    """Runs a supervisor from its request to the end of its task."""
    os.set_inheritable(int(lock), False)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    request = decode(_read_all(0))
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    libc.become_subreaper()
    _point(folder, "agent.started")
    if status.claim(folder):
        _point(folder, "agent.claimed")
        Supervisor(folder, request).run()


class Supervisor:
    """One task and its processes."""

    def __init__(self, folder: str, request: Request) -> None:
        self._folder = folder
        self._request = request
        self._status = status.Status()
        self._limit = 0
        self._alive = False
        self._cause = ""
        self._kill_at: float | None = None
        self._kill_pause = _KILL_AGAIN
        self._times_out_at: float | None = None
        self._unwritten = False
        self._outputs: Outputs | None = None
        self._take_until = 0.0

    def run(self) -> None:
        """Runs the task to its end."""
        if status.stop_asked(self._folder) is not None:
            self._status.end("cancelled", "Stopped", "stopped before it started")
        elif self._start():
            _point(self._folder, "agent.child")
            self._report()
            _point(self._folder, "agent.reported")
            # Loaded while the user's process runs, and not later: an upgrade may replace it.
            from . import outcome

            if self._request.outputs:
                from . import outputs

                self._outputs = outputs.Outputs(self._folder, self._request, self._at)
            self._wait()
            if not self._cause:
                kills = cgroup.oom_kills(self._request.cgroup) if self._limit else 0
                outcome.explain(self._status, self._limit, kills)
            elif self._cause == "timeout":
                text = f"it ran longer than its timeout of {self._request.timeout:g} s"
                self._status.end("failed", "Timeout", text)
            else:
                self._status.end("cancelled", "Stopped", "stopped while it ran")
            self._take_outputs()
        self._status.end_ns = self._status.end_ns or time.time_ns()
        if self._limit:
            cgroup.remove(self._request.cgroup)
        _point(self._folder, "agent.ended")
        while not self._report():
            time.sleep(_WRITE_AGAIN)  # a full disk: the outcome must not be lost
        _point(self._folder, "agent.final")

    @property
    def _running(self) -> bool:
        """Whether the main process runs and nothing has begun to end it."""
        return self._alive and not self._cause

    def _start(self) -> bool:
        """Starts the user's process; if that fails, the status says why."""
        try:
            self._status.start_ns = time.time_ns()
            self._status.pid = self._start_child()
        except child.StartError as error:
            from . import outcome

            self._status.start_ns = 0
            outcome.refuse(self._status, self._request, error)
            return False
        if self._request.timeout:
            self._times_out_at = time.monotonic() + self._request.timeout
        self._alive = True
        return True

    def _start_child(self) -> int:
        try:
            for folder in self._request.folders:
                os.mkdir(folder, 0o700)
            stdout, stderr = self._open(status.STDOUT), self._open(status.STDERR)
        except OSError as error:
            raise child.StartError("open", error.errno or 0) from error
        try:
            return child.start(self._request, stdout, stderr, self._make_group())
        finally:
            os.close(stdout)
            os.close(stderr)

    def _make_group(self) -> str:
        """Makes the control group; the limit is the request's, where groups may be made."""
        request = self._request
        if not (request.cgroup and request.memory):
            return ""
        try:
            cgroup.create(request.cgroup, request.memory)
        except OSError as error:
            self._log(f"no memory limit: {error}")
            return ""
        self._limit = request.memory
        return os.path.join(request.cgroup, cgroup.PROCS)

    def _open(self, name: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(os.path.join(self._folder, name), flags, 0o600)

    def _wait(self) -> None:
        """Waits until no process of the task is left, and ends them when it is time."""
        while self._reap():
            now = time.monotonic()
            if not self._alive and self._kill_at is None:
                self._end(min(self._request.grace, LEFTOVER_GRACE))
                continue
            if self._times_out_at is not None and self._running and now >= self._times_out_at:
                self._cause = "timeout"
                self._end(self._request.grace)
                continue
            if self._kill_at is not None and now >= self._kill_at:
                tree.kill(os.getpid())
                self._kill_at = now + self._kill_pause
                self._kill_pause = min(self._kill_pause * 1.5, _KILL_SELDOM)
            if self._unwritten:
                self._report()
            if self._outputs is not None and self._running:
                due = self._outputs.due
                if due is not None and now >= due:
                    self._outputs.begin(now)
            self._sleep(now)

    def _sleep(self, now: float) -> None:
        """Sleeps until a signal comes or something is due."""
        due = [self._kill_at]
        if self._running:
            due.append(self._times_out_at)
            due.append(self._outputs.due if self._outputs is not None else None)
        if self._unwritten:
            due.append(now + _WRITE_AGAIN)
        times = [at for at in due if at is not None]
        if times:
            info = signal.sigtimedwait(_SIGNALS, max(0.0, min(times) - now))
        else:
            info = signal.sigwaitinfo(_SIGNALS)
        if info is not None and info.si_signo in (signal.SIGTERM, signal.SIGINT):
            grace = status.stop_asked(self._folder)
            if self._running:
                self._cause = "stop"
            self._end(self._request.grace if grace is None else grace)

    def _end(self, grace: float) -> None:
        """Begins to end all processes, or shortens the time that they have left."""
        kill_at = time.monotonic() + grace
        if self._kill_at is None:
            if grace > 0:
                tree.terminate(os.getpid())
            self._kill_at = kill_at
        else:
            self._kill_at = min(self._kill_at, kill_at)

    def _reap(self) -> bool:
        """Takes note of every process that ended; False when none is left."""
        while True:
            try:
                pid, code = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if self._outputs is not None:
                self._outputs.ended(pid)
            if pid == self._status.pid and self._alive:
                self._alive = False
                if self._outputs is not None:
                    self._outputs.abandon()
                self._status.end_ns = time.time_ns()
                if os.WIFSIGNALED(code):
                    self._status.signal = os.WTERMSIG(code)
                else:
                    self._status.exit_code = os.WEXITSTATUS(code)

    def _take_outputs(self) -> None:
        """Takes the outputs, now that nobody writes any more; a stop leaves the grace period."""
        if self._outputs is None:
            return
        from .outputs import LIMIT

        self._take_until = time.monotonic() + LIMIT
        self._outputs.finish(self._status, self._time_left)

    def _time_left(self) -> float:
        """Seconds that taking outputs may still last."""
        info = signal.sigtimedwait(_SIGNALS, 0)
        now = time.monotonic()
        if info is not None and info.si_signo in (signal.SIGTERM, signal.SIGINT):
            grace = status.stop_asked(self._folder)
            until = now + (self._request.grace if grace is None else grace)
            self._take_until = min(self._take_until, until)
        return self._take_until - now

    def _at(self, point: str) -> None:
        _point(self._folder, point)

    def _report(self) -> bool:
        """Writes the status; False if it has to be tried again."""
        self._unwritten = False
        try:
            status.write(self._folder, self._status)
        except FileNotFoundError:
            return True  # the task's folder was removed: nobody is interested any more
        except OSError as error:
            self._log(f"the status cannot be written: {error}")
            self._unwritten = True
        return not self._unwritten

    def _log(self, text: str) -> None:
        try:
            os.write(2, (text + "\n").encode("utf-8", "replace"))
        except OSError:
            return


def _point(folder: str, name: str) -> None:
    """A point at which tests kill supervisors; loads nothing unless there is a plan for it."""
    plan = os.environ.get("SUBGRPC_FAULTS")
    if plan:
        from . import faults

        faults.Plan(plan).point(name, folder)


def _read_all(descriptor: int) -> bytes:
    pieces: list[bytes] = []
    while True:
        piece = os.read(descriptor, 1 << 20)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
