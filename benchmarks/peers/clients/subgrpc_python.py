"""subgrpc's client where the job is one of Python, as Prefect's is."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.clients import subgrpc
from benchmarks.peers.jobs import python


class Peer(subgrpc.Peer):
    """Experiments of a fresh Python interpreter."""

    @staticmethod
    def _command(target: Path | None) -> list[str]:
        return ["sh", "-c", python(target)]
