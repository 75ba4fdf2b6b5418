"""Prefect's client: flow runs of deployments to a pool of the kind process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.flow_runs import wait_for_flow_run

from benchmarks.peers.clients.base import Client

POOL = "bench"
SECONDS = 600


class Peer(Client):
    """Flow runs; it waits for their events, as Prefect's documentation shows."""

    def __init__(self, address: str, folder: Path, root: Path) -> None:
        super().__init__(address, folder, root)
        self._client = get_client(sync_client=True)
        self._deployments: dict[str, UUID] = {}

    def page(self, size: int) -> int:
        return len(self._client.read_flow_runs(limit=size))

    def prepare(self) -> None:
        self._client.create_work_pool(WorkPoolCreate(name=POOL, type="process"), overwrite=True)
        for name in ("nothing", "stamp"):
            source = str(self.root / "benchmarks" / "peers")
            known = flow.from_source(source, entrypoint=f"flows.py:{name}")
            self._deployments[name] = known.deploy(
                name, work_pool_name=POOL, print_next_steps=False
            )

    def takes_jobs(self) -> bool:
        workers = self._client.read_workers_for_work_pool(POOL)
        return any(worker.status == "ONLINE" for worker in workers)

    def submit(self, target: Path | None) -> str:
        name = "nothing" if target is None else "stamp"
        given = {} if target is None else {"target": str(target)}
        made = self._client.create_flow_run_from_deployment(
            self._deployments[name], parameters=given
        )
        return str(made.id)

    def wait(self, jobs: Sequence[str]) -> int:
        return asyncio.run(self._wait(jobs))

    async def _wait(self, jobs: Sequence[str]) -> int:
        ends = await asyncio.gather(
            *(wait_for_flow_run(UUID(job), timeout=SECONDS) for job in jobs)
        )
        return sum(end.state is None or not end.state.is_completed() for end in ends)

    def read(self, job: str) -> object:
        return self._client.read_flow_run(UUID(job))
