"""What every client can be asked, and the loops that are the same for all of them.

It runs in the virtual environments of the peers: standard library only.
"""

from __future__ import annotations

import abc
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path


class Client(abc.ABC):
    """A peer's own Python client. A job is named by the id that the peer gave it."""

    def __init__(self, address: str, folder: Path, root: Path) -> None:
        """Connects, lazily.

        Args:
            address: HOST:PORT of the server.
            folder: that may be written to.
            root: of the repository.
        """
        self.address = address
        self.folder = folder
        self.root = root

    @abc.abstractmethod
    def page(self, size: int) -> int:
        """Lists jobs; returns how many came. Raises whatever it likes if that fails."""

    @abc.abstractmethod
    def submit(self, target: Path | None) -> str:
        """Submits a job that does nothing, or writes the time, in ns, to a file."""

    @abc.abstractmethod
    def wait(self, jobs: Sequence[str]) -> int:
        """Returns when all jobs have ended: how many of them did not succeed."""

    @abc.abstractmethod
    def read(self, job: str) -> object:
        """Returns what the server knows of a job; raises whatever it likes if it is unknown."""

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Makes what has to be there before the first job, once the server answers."""

    def takes_jobs(self) -> bool:
        """Whether there is somebody that runs jobs."""
        return True

    def create(self) -> None:
        """Makes a record that is not run, where that is what the peer is for."""
        raise NotImplementedError


class Loops:
    """What is measured, by one client in one thread."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._runs = 0

    def answers(self, seconds: float) -> float | None:
        """The time (time.time()) when the server first answered a client's read; None: not yet."""
        end = time.monotonic() + seconds
        _listens(self._client.address, end)  # no client backs off from a port that is not there
        while time.monotonic() < end:
            try:
                self._client.page(1)
                return time.time()
            except Exception:  # each client has its own errors for "not yet"
                time.sleep(0.02)
        return None

    def prepare(self) -> None:
        """See the client."""
        self._client.prepare()

    def takes_jobs(self, seconds: float) -> None:
        """Returns when somebody runs jobs."""
        end = time.monotonic() + seconds
        while not self._client.takes_jobs():
            if time.monotonic() > end:
                raise RuntimeError("nobody takes jobs")
            time.sleep(0.2)

    def moments(self) -> list[float]:
        """Milliseconds: submit → acknowledged, → user code, and from there → end known."""
        self._runs += 1
        target = self._client.folder / f"moment-{self._runs}"
        begin = time.time_ns()
        job = self._client.submit(target)
        acknowledged = time.time_ns()
        failed = self._client.wait([job])
        known = time.time_ns()
        if failed:
            raise RuntimeError(f"{job} did not succeed")
        ran = int(target.read_text())
        return [(acknowledged - begin) / 1e6, (ran - begin) / 1e6, (known - ran) / 1e6]

    def burst(self, count: int) -> tuple[float, str, int]:
        """Seconds until so many jobs, submitted one by one, ended; one of them; how many failed."""
        begin = time.monotonic()
        jobs = [self._client.submit(None) for _ in range(count)]
        failed = self._client.wait(jobs)
        return time.monotonic() - begin, jobs[0], failed

    def create(self) -> float:
        """Milliseconds until a record is acknowledged."""
        begin = time.perf_counter()
        self._client.create()
        return (time.perf_counter() - begin) * 1000

    def read(self, job: str, seconds: float) -> float:
        """Reads of one job a second, each decoded."""
        return _rate(lambda: self._client.read(job), seconds)

    def page(self, size: int, seconds: float) -> float:
        """Lists of so many jobs a second, each decoded."""
        if (found := self._client.page(size)) != size:
            raise RuntimeError(f"{found} jobs were listed instead of {size}")
        return _rate(lambda: self._client.page(size), seconds)

    def submit(self, count: int) -> list[str]:
        """Submits jobs that do nothing, and does not wait for them."""
        return [self._client.submit(None) for _ in range(count)]

    def known(self, jobs: Sequence[str]) -> int:
        """How many of the jobs the server knows."""
        return sum(self._knows(job) for job in jobs)

    def _knows(self, job: str) -> bool:
        try:
            self._client.read(job)
        except Exception:  # each client has its own error for "there is none"
            return False
        return True


def _listens(address: str, end: float) -> None:
    """Returns when somebody listens there, or when it is too late."""
    host, _, port = address.rpartition(":")
    while time.monotonic() < end:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return


def _rate(call: Callable[[], object], seconds: float) -> float:
    begin = now = time.perf_counter()
    calls = 0
    while now - begin < seconds:
        call()
        calls += 1
        now = time.perf_counter()
    return calls / (now - begin)
