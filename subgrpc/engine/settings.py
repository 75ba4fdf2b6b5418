"""What the engine is configured with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from subgrpc.config import ClusterSettings


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The engine's configuration.

    Attributes:
        clusters: every cluster by name.
        default_cluster: the one for experiments that name none.
        data_dir: the folder of the drivers.
    """

    clusters: Mapping[str, ClusterSettings]
    default_cluster: str
    data_dir: Path
