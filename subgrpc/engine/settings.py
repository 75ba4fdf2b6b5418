"""What the engine is configured with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from subgrpc.config import ClusterSettings
from subgrpc.engine.leadership import LEASE_LENGTH


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The engine's configuration.

    Attributes:
        clusters: every cluster by name.
        default_cluster: the one for experiments that name none.
        data_dir: the folder of the drivers.
        server: the id of this server.
        lease_length: of each cluster's lease, in seconds.
    """

    clusters: Mapping[str, ClusterSettings]
    default_cluster: str
    data_dir: Path
    server: str
    lease_length: float = LEASE_LENGTH
