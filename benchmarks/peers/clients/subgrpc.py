"""subgrpc's client."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from benchmarks.peers.clients.base import Client
from benchmarks.peers.jobs import command
from subgrpc.client import Client as Subgrpc


class Peer(Client):
    """Experiments of shell commands; waiting is watching."""

    def __init__(self, address: str, folder: Path, root: Path) -> None:
        super().__init__(address, folder, root)
        self._experiments = Subgrpc(address).experiments

    def page(self, size: int) -> int:
        return len(list(islice(self._experiments.list(page_size=size), size)))

    def submit(self, target: Path | None) -> str:
        return self._experiments.create(self._command(target)).id

    def wait(self, jobs: Sequence[str]) -> int:
        return sum(not self._experiments.wait(job).succeeded for job in jobs)

    def read(self, job: str) -> object:
        return self._experiments.get(job)

    @staticmethod
    def _command(target: Path | None) -> list[str]:
        return ["sh", "-c", command(target)]
