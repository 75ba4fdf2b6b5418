"""A peer that is up: its server, what runs jobs for it, and a client, each ended afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers.catalogue import HOST, Peer, free_port, programs
from benchmarks.peers.keeper import descendants, kill
from benchmarks.processes import ROOT, first_line, running

KEEPER = Path(__file__).with_name("keeper.py")
SECONDS = 120.0
"""A server that does not answer by then has failed."""
SETTLE = 3.0
"""Seconds after which a server is weighed: what it starts beside itself is there by then."""
_FOREIGN = ("RAY_ADDRESS", "RAY_JOB_HEADERS", "MLFLOW_EXPERIMENT_ID", "PREFECT_API_KEY")
"""Settings that would send our jobs elsewhere."""


class Session:
    """What can be asked of a peer that is up.

    Attributes:
        ready: seconds from the start of the server's process until it answered its client.
        memory: MB of all of its processes (PSS: pages that they share are counted once).
    """

    def __init__(
        self, peer: Peer, python: Path | None, folder: Path, stack: contextlib.ExitStack
    ) -> None:
        self._peer = peer
        self._python = python
        self._folder = folder
        self._stack = stack
        self._kept: list[int] = []
        self._start()

    @property
    def title(self) -> str:
        """The peer's name, for people."""
        return self._peer.title

    def ask(self, method: str, *arguments: object) -> Any:
        """Has the client do something (`Loops`).

        Raises:
            RuntimeError: it failed, or the client ended.
        """
        assert self._client.stdin is not None
        self._client.stdin.write(json.dumps([method, *arguments]) + "\n")
        self._client.stdin.flush()
        answer = json.loads(first_line(self._client, self._folder / "client.log"))
        if "error" in answer:
            raise RuntimeError(f"{self._peer.title}: {answer['error']}")
        return answer["result"]

    def crash(self) -> None:
        """Kills all processes of the server (SIGKILL), and starts it anew on the same data."""
        for pid in self._kept:
            kill(pid)
        self._kept.clear()
        self._start()

    def _start(self) -> None:
        self._address = f"{HOST}:{free_port()}"
        client = (programs(self._python) + "/python", "-m", "benchmarks.peers.clients")
        given = (self._peer.client, self._address, str(self._folder))
        self._client = self._keep("client", [*client, *given])
        port = int(self._address.rpartition(":")[2])
        begin = time.time()
        self._server = self._run(
            "server", self._peer.server(programs(self._python), self._folder, port)
        )
        self.ready: float = self._answers() - begin
        self.ask("prepare")
        if self._peer.worker is not None:
            command = self._peer.worker(programs(self._python), self._folder, port)
            self._run("worker", command)
        self.ask("takes_jobs", SECONDS)
        time.sleep(SETTLE)
        self.memory = sum(_weight(each) for pid in self._kept for each in descendants(pid))

    def _answers(self) -> float:
        """When the server first answered, by time.time().

        Raises:
            RuntimeError: it ended instead, or does not answer.
        """
        end = time.monotonic() + SECONDS
        while (when := self.ask("answers", 2.0)) is None:
            if time.monotonic() > end or self._server.poll() is not None:
                said = (self._folder / "server.log").read_text()[-1000:]
                raise RuntimeError(f"{self._peer.title} does not answer: {said}")
        return float(when)

    def _run(self, name: str, command: list[str]) -> subprocess.Popen[str]:
        kept = self._keep(name, command)
        self._kept.append(kept.pid)
        return kept

    def _keep(self, name: str, command: list[str]) -> subprocess.Popen[str]:
        log = self._folder / f"{name}.log"
        talks = name == "client"
        kept = [sys.executable, "-I", str(KEEPER), *(() if talks else ("--log",)), *command]
        where = ROOT if talks else self._folder
        environment = self._environment()
        return self._stack.enter_context(running(kept, log, environment, where))

    def _environment(self) -> Mapping[str, str]:
        path = f"{programs(self._python)}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        given = {
            name: value.format(folder=self._folder, address=self._address)
            for name, value in self._peer.environment.items()
        }
        kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
        return {**kept, "PATH": path, "NO_PROXY": HOST, "no_proxy": HOST, **given}


@contextlib.contextmanager
def session(peer: Peer, python: Path | None, folder: Path) -> Iterator[Session]:
    """A peer that is up, with its data in a folder of its own."""
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        yield Session(peer, python, folder, stack)


def _weight(pid: int) -> float:
    """The proportional set size of a process, MB; 0: it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1000
    return 0.0
