"""MLflow's client: runs of its tracking server, and projects (`mlflow run`) that report to it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import mlflow
from mlflow.projects.submitted_run import SubmittedRun

from benchmarks.peers.clients.base import Client
from benchmarks.peers.jobs import command

EXPERIMENT = "0"
"""The default experiment, which every server has."""


class Peer(Client):
    """Projects that run as processes below the client: the server runs nothing.

    The client learns of their end by waiting for these processes.
    """

    def __init__(self, address: str, folder: Path, root: Path) -> None:
        super().__init__(address, folder, root)
        mlflow.set_tracking_uri(f"http://{address}")
        self._client = mlflow.MlflowClient()
        self._running: dict[str, SubmittedRun] = {}

    def page(self, size: int) -> int:
        return len(self._client.search_runs([EXPERIMENT], max_results=size))

    def prepare(self) -> None:
        # Outside of the repository: MLflow would ask git for its commit with every run.
        source = self.root / "benchmarks" / "peers" / "project"
        shutil.copytree(source, self.folder / "project", dirs_exist_ok=True)

    def submit(self, target: Path | None) -> str:
        run = mlflow.projects.run(
            str(self.folder / "project"),
            parameters={"job": command(target)},
            experiment_id=EXPERIMENT,
            env_manager="local",
            synchronous=False,
        )
        self._running[run.run_id] = run
        return str(run.run_id)

    def wait(self, jobs: Sequence[str]) -> int:
        for job in jobs:
            self._running.pop(job).wait()
        return sum(self._client.get_run(job).info.status != "FINISHED" for job in jobs)

    def read(self, job: str) -> object:
        return self._client.get_run(job)

    def create(self) -> None:
        self._client.create_run(EXPERIMENT, tags={"project": "digits", "stage": "test"})
