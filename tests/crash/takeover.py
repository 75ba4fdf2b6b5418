"""A leader that was stopped while another took over writes nothing and starts nothing."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path

from subgrpc.client import AsyncClient
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentState

from . import evidence, workload
from .servers import Life, Place, Zygote, free_port
from .universe import Result

WATCHED = 3.0
"""Seconds for which the woken leader is given the chance to start what it must not start."""


class Takeover:
    """One server is stopped, a second one leads its cluster on the same database, the first wakes.

    With SQLite the lock on the data folder forbids just that; here the second does not ask for it,
    as if an operator had removed it.
    """

    def __init__(self, folder: Path, mutant: str) -> None:
        self._folder, self._mutant = folder, mutant
        place = Place(folder / "server-0", free_port(), ("local",), "")
        self._first = place
        self._second = Place(place.folder, free_port(), ("local",), "")
        self._zygote: Zygote
        self.result = Result()

    async def run(self) -> Result:
        """Runs it; the folder is removed unless something was wrong."""
        self._first.folder.mkdir(parents=True)
        self._zygote = await Zygote.start(self._mutant)
        try:
            await self._run()
        finally:
            await self._zygote.close()
        if self.result.clean:
            shutil.rmtree(self._folder)
        return self.result

    async def _run(self) -> None:
        first = await self._serve(self._first)
        await self._ended(self._first, await self._create(self._first, "before"))
        first.send(signal.SIGSTOP)
        second = await self._serve(self._second, break_lock=True)
        await self._ended(self._second, await self._create(self._second, "meanwhile"))
        first.send(signal.SIGCONT)
        late = await self._create(self._first, "late")
        await asyncio.sleep(WATCHED)
        runs = [task for what, task, _ in evidence.ledger(self._folder) if what == "start"]
        if any(task.startswith(late.uid) for task in runs):
            self.result.violations.append("a leader that had lost its lease started an experiment")
        for life in (first, second):
            life.send(signal.SIGKILL)
            await life.ends(20)
            self.result.counts["server kills"] += 1
        await self._serve(self._first)
        await self._ended(self._first, late)
        self.result.counts["experiments"] += 3
        runs = [task for what, task, _ in evidence.ledger(self._folder) if what == "start"]
        if len(runs) != 3 or len(set(runs)) != 3:
            self.result.doubled.append(f"of three experiments were started: {runs}")

    async def _serve(self, place: Place, **more: bool) -> Life:
        life = await self._zygote.serve(place.settings("", **more))
        if not await life.is_ready():
            raise RuntimeError(f"no server: see {place.folder}/server.log")
        return life

    async def _create(self, place: Place, rid: str) -> Experiment:
        env = {"CRASH_LEDGER": str(self._folder / "ledger")}
        async with AsyncClient(place.address, timeout=10) as client:
            return await client.create_experiment(
                workload.experiment("quick", rid, env, "local"), request_id=rid
            )

    async def _ended(self, place: Place, made: Experiment) -> None:
        async with AsyncClient(place.address, timeout=10) as client:
            ended = await client.wait(made.name, timeout=30)
        if ended.state != ExperimentState.EXPERIMENT_STATE_SUCCEEDED:
            self.result.violations.append(f"{made.name} ended as {ended.state}: {ended.message}")
