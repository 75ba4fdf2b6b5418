"""Servers of one universe: where they are, the process that forks them, and their lives."""

from __future__ import annotations

import asyncio
import contextlib
import glob
import json
import os
import random
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60.0
"""A server that starts is ready within so many seconds, however busy the machine is."""


class Zygote:
    """The process that forks servers; see `serve`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._started: asyncio.Queue[Life] = asyncio.Queue()
        self._lock = asyncio.Lock()
        self._lives: dict[int, Life] = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, mutant: str = "") -> Zygote:
        """Starts it, with a mutant's patches."""
        words = [sys.executable, "-m", "tests.crash.serve", *filter(None, [mutant])]
        env = {key: value for key, value in os.environ.items() if not key.startswith("SUBGRPC_")}
        process = await asyncio.create_subprocess_exec(
            *words, cwd=ROOT, stdin=PIPE, stdout=PIPE, env=env
        )
        return cls(process)

    async def serve(self, settings: dict[str, Any]) -> Life:
        """Starts a server."""
        assert self._process.stdin is not None
        async with self._lock:
            self._process.stdin.write(json.dumps(settings).encode() + b"\n")
            await self._process.stdin.drain()
            return await self._started.get()

    async def close(self) -> None:
        """Ends it, and servers that are left."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            if "started" in told:
                self._started.put_nowait(self._life(told["started"]))
            elif "ready" in told:
                self._life(told["ready"]).ready.set()
            else:
                life = self._lives.pop(told["exited"])
                life.status = told["status"]
                life.exited.set()

    def _life(self, pid: int) -> Life:
        return self._lives.setdefault(pid, Life(pid))


class Life:
    """One server process, from its start to its end."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ready = asyncio.Event()
        self.exited = asyncio.Event()
        self.status = 0

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal, if it is there."""
        if not self.exited.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def ends(self, seconds: float) -> bool:
        """Waits for its end; false: it goes on."""
        return await _happens(self.exited, seconds)

    async def is_ready(self) -> bool:
        """Waits until it serves; false: it has ended, or does not come to it."""
        waits = [asyncio.ensure_future(each.wait()) for each in (self.ready, self.exited)]
        await asyncio.wait(waits, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        return self.ready.is_set() and not self.exited.is_set()


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server of a universe is: the same in all its lives.

    Attributes:
        folder: for its data, its log, and what its fault points write.
        port: where it listens on loopback.
        clusters: the clusters that it may lead; their runs live in its data folder.
        database: URL of PostgreSQL; empty: SQLite.
    """

    folder: Path
    port: int
    clusters: tuple[str, ...]
    database: str

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.folder / "data"

    @property
    def faults(self) -> Path:
        """Which points have killed."""
        return self.folder / "faults"

    def settings(self, plan: str, **more: Any) -> dict[str, Any]:
        """What `serve` is given."""
        return {
            "data": str(self.data),
            "port": self.port,
            "clusters": self.clusters,
            "database": self.database,
            "cpu": "10",
            "plan": f"{self.faults}|{plan}" if plan else "",
            "log": str(self.folder / "server.log"),
            **more,
        }

    def supervisors(self) -> list[tuple[int, str]]:
        """The supervisors that are alive: pid, and which task's it is."""
        found = []
        for name in glob.iglob(f"{self.data}/drivers/*/runs/*/*/*/claim"):
            claim = Path(name)
            with contextlib.suppress(OSError, ValueError, IndexError):
                pid = int(claim.read_text().split()[0])
                if str(claim.parent).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append((pid, "-".join(claim.parts[-4:-1])))
        return found


def free_port() -> int:
    """A port below those that the system hands out, so that it is still free after a kill."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


async def _happens(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()
