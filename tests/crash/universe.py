"""One universe: servers on one database, clients and experiments, until the storm is over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from asyncio.subprocess import Process
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from . import evidence, verify
from .mutants import POINT
from .points import Chooser
from .servers import ROOT, Life, Place, Zygote, free_port

QUIET_SECONDS = 90.0
"""Once nobody kills any more, everything ends within so long of the last progress."""
UNSETTLED = (
    "SELECT (SELECT count(*) FROM experiment WHERE active = 1), "
    "(SELECT count(*) FROM attempt WHERE settled = 0), (SELECT revision FROM meta)"
)


@dataclass(frozen=True, slots=True)
class Storm:
    """How a universe is treated.

    Attributes:
        seconds: how long there are kills.
        submitters: clients that submit, each one experiment after the other.
        agents: one supervisor of so many is killed at each of its points; 0: none.
        blackout: how often a kill takes all supervisors of the server along: a part of one.
        database: URL; empty: SQLite.
        servers: how many share the database.
        mutant: the broken build that is tested; empty: the real one.
    """

    seconds: float
    submitters: int = 16
    agents: int = 400
    blackout: float = 0.06
    database: str = ""
    servers: int = 1
    mutant: str = ""


@dataclass(slots=True)
class Result:
    """What came of a universe: counts that can be added up, and what was wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong."""
        return not (self.lost or self.doubled or self.violations)


class Universe:
    """Runs a storm in a folder of its own."""

    def __init__(self, folder: Path, storm: Storm, seed: int) -> None:
        self.folder, self._storm = folder, storm
        self._rng = random.Random(seed)
        self._seed = seed
        self.result = Result()
        self._marker = f"crash-{os.getpid()}-{seed}"
        self._chooser = Chooser(self._rng, storm.agents)
        self._lives: dict[Place, Life] = {}
        self._checked = 0
        numbers = range(storm.servers)
        self._clusters = ("local", *(f"local-{number}" for number in numbers[1:]))
        self._places = [
            Place(folder / f"server-{number}", free_port(), self._clusters, storm.database)
            for number in numbers
        ]
        self.database = evidence.Database(storm.database, self._places[0].data)

    async def run(self) -> Result:
        """Runs it to its end; the folder is removed unless something was wrong."""
        for place in self._places:
            place.folder.mkdir(parents=True)
        (self.folder / "ledger").touch()
        zygote = await Zygote.start(self._storm.mutant)
        clients: list[Process] = []
        try:
            clients = [await self._client(name) for name in ("submitters", "watchers")]
            until = time.monotonic() + self._storm.seconds
            await asyncio.gather(
                *(self._torment(zygote, place, until) for place in self._places),
                *(self._disturb(place, until) for place in self._places),
            )
            await self._conclude(zygote, clients)
        except Exception as error:
            text = f"the harness failed: {traceback.format_exception(error)}"
            self.result.violations.append(text)
        finally:
            for client in clients:
                if client.returncode is None:
                    client.kill()
                    await client.wait()
            await zygote.close()
            self._end_leftovers()
        if self.result.clean:
            shutil.rmtree(self.folder)
        return self.result

    async def _client(self, name: str) -> Process:
        settings = {
            "seed": self._seed,
            "addresses": [place.address for place in self._places],
            "clusters": self._clusters,
            "folder": str(self.folder),
            "submitters": self._storm.submitters,
            "env": {"CRASH_LEDGER": str(self.folder / "ledger"), "CRASH_RUN": self._marker},
        }
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(settings))
        with (self.folder / f"{name}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", f"tests.crash.{name}", str(path)),
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    async def _torment(self, zygote: Zygote, place: Place, until: float) -> None:
        """Starts a server and ends it, again and again."""
        while time.monotonic() < until:
            life = self._lives[place] = await zygote.serve(place.settings(self._plan()))
            await self._end_life(place, life, until)
            self._count_points(place, life)
            if self._storm.mutant:
                await asyncio.sleep(1.0)  # what it has started may take so long on a busy machine
            elif self._rng.random() < 0.3:
                await asyncio.sleep(self._rng.random() * 0.5)
            await asyncio.to_thread(self._check_starts)

    def _plan(self) -> str:
        if self._storm.mutant == "submit-before-persist":
            return f"{POINT}={self._rng.randint(1, 6)}"
        return self._chooser.next()

    async def _end_life(self, place: Place, life: Life, until: float) -> None:
        rng, counts = self._rng, self.result.counts
        if await life.ends(min(rng.uniform(0.15, 2.5), max(until - time.monotonic(), 0.1))):
            return
        how = rng.random()
        if how < 0.07 and await life.is_ready():
            life.send(signal.SIGTERM)
            counts["terms"] += 1
            if await life.ends(20):
                return
            if not life.exited.is_set():
                self.result.violations.append("a server did not stop within 20 s of SIGTERM")
        elif how < 0.17:
            life.send(signal.SIGSTOP)
            counts["stops"] += 1
            await asyncio.sleep(rng.uniform(0.1, 1.0))
            if rng.random() < 0.5:
                life.send(signal.SIGCONT)
                await life.ends(rng.uniform(0.1, 0.5))
        if rng.random() < self._storm.blackout:
            counts["blackouts"] += 1
            life.send(signal.SIGSTOP)  # it sees none of it
            self._kill_supervisors(place, place.supervisors())
        if not life.exited.is_set():
            life.send(signal.SIGKILL)
            await life.ends(20)

    def _count_points(self, place: Place, life: Life) -> None:
        """Counts a death: at a point, by our hand, as asked, or by itself."""
        point = next((name for name, pid, _ in self._points(place) if pid == life.pid), "")
        if point:
            self._chooser.kills[point] += 1
        if life.status == -signal.SIGKILL:
            self.result.counts["server kills"] += 1
        elif life.status:
            text = f"server {life.pid} died by itself with status {life.status}: server.log"
            self.result.violations.append(text)

    def _points(self, place: Place) -> list[tuple[str, int, str]]:
        """What has been killed at a point: its name, the pid, and a supervisor's folder."""
        with contextlib.suppress(FileNotFoundError):
            found = [line.split(" ", 2) for line in place.faults.read_text().splitlines()]
            return [(name, int(pid), where) for name, pid, where in found]
        return []

    async def _disturb(self, place: Place, until: float) -> None:
        """Kills, stops and continues supervisors."""
        while time.monotonic() < until:
            await asyncio.sleep(self._rng.uniform(0.5, 2.5))
            alive = place.supervisors() if self._storm.agents else []
            if not alive:
                continue
            chosen = self._rng.choice(alive)
            if self._rng.random() < 0.6:
                self._kill_supervisors(place, [chosen])
            else:
                self.result.counts["stops"] += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chosen[0], signal.SIGSTOP)
                    await asyncio.sleep(self._rng.uniform(0.1, 1.0))
                    os.kill(chosen[0], signal.SIGCONT)

    def _kill_supervisors(self, place: Place, those: list[tuple[int, str]]) -> None:
        for pid, task in those:
            with (self.folder / "killed").open("a") as file:
                file.write(task + "\n")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.result.counts["supervisor kills"] += 1

    def _check_starts(self) -> None:
        """Whatever has started was stored before: also now, that its server is dead."""
        started = evidence.ledger(self.folder)
        new, self._checked = started[self._checked :], len(started)
        runs = {evidence.split(task)[:2] for what, task, _ in new if what == "start"}
        if not runs:
            return
        sql = "SELECT experiment_uid, number FROM attempt"
        stored = {(row[0], row[1]) for row in self.database.rows_of_the_dead(sql)}
        deleted = {line["uid"] for line in evidence.lines(self.folder, "deletes")}
        for uid, attempt in runs - stored:
            if uid not in deleted:
                text = f"attempt {attempt} of {uid} was started, but not stored"
                self.result.violations.append(text)

    async def _conclude(self, zygote: Zygote, clients: list[Process]) -> None:
        """No more kills: everything comes to its end, and is judged."""
        for place in self._places:
            self._lives[place] = await zygote.serve(place.settings(""))
            if not await self._lives[place].is_ready():
                self.result.violations.append("the last server does not start")
                return
        submitters, watchers = clients
        if any(client.returncode is not None for client in clients):
            self.result.violations.append("a client process failed: see its log")
            return
        submitters.send_signal(signal.SIGTERM)
        revision = await self._quiet(submitters)
        (self.folder / "final").write_text(str(revision))
        watchers.send_signal(signal.SIGTERM)
        if await watchers.wait() or submitters.returncode:
            self.result.violations.append("a client process failed: see its log")
        points = [point for place in self._places for point in self._points(place)]
        self.result.points.update(name for name, _, _ in points)
        self.result.counts["supervisor kills"] += sum(n.startswith("agent") for n, _, _ in points)
        with (self.folder / "killed").open("a") as file:
            for _, _, where in points:
                file.write("-".join(Path(where).parts[-3:]) + "\n" if where else "")
        address = [place.address for place in self._places]
        await verify.judge(self.folder, self.database, address, self.result)
        self._check_leftovers()
        self._check_server_logs()
        for life in self._lives.values():
            life.send(signal.SIGTERM)
            if not await life.ends(20) or life.status:
                self.result.violations.append(f"the last server ended with {life.status}")

    async def _quiet(self, submitters: Process) -> int:
        """Waits until every experiment has ended and is settled; returns the last revision."""
        last, since = None, time.monotonic()
        while True:
            active, unsettled, revision = self.database.rows(UNSETTLED)[0]
            if not active and not unsettled and submitters.returncode is not None:
                return int(revision)
            if (active, unsettled, revision) != last:
                last, since = (active, unsettled, revision), time.monotonic()
            elif time.monotonic() - since > QUIET_SECONDS:
                text = f"{active} experiments and {unsettled} attempts never came to an end"
                self.result.violations.append(text)
                submitters.kill()
                await submitters.wait()
                return int(revision)
            await asyncio.sleep(0.3)

    def _check_server_logs(self) -> None:
        """No server met an error that it did not expect."""
        for place in self._places:
            for line in (place.folder / "server.log").read_text().splitlines():
                if '"level": "error"' in line and '"exception"' in line:
                    self.result.violations.append(f"server.log: {line[:300]}")

    def _check_leftovers(self) -> None:
        until = time.monotonic() + 10
        while (left := self._processes()) and time.monotonic() < until:
            time.sleep(0.1)
        if left:
            self.result.violations.append(f"processes are left over: {left}")
        for place in self._places:
            for folder in place.data.glob("drivers/*/runs/*/*"):
                self.result.violations.append(f"left over: {folder.relative_to(place.data)}")

    def _processes(self) -> list[int]:
        """Workloads and supervisors of this universe."""
        marks = (f"CRASH_RUN={self._marker}".encode(), f"{self.folder}/server-".encode())
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                environ = Path(f"/proc/{entry}/environ").read_bytes()
                command = Path(f"/proc/{entry}/cmdline").read_bytes()
                if marks[0] in environ or marks[1] in command:
                    found.append(int(entry))
        return found

    def _end_leftovers(self) -> None:
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
