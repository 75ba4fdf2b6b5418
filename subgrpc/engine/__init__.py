"""The engine: closes the gap between what is wanted of experiments and what drivers observe."""

from __future__ import annotations

from subgrpc.engine.engine import Engine
from subgrpc.engine.settings import EngineSettings

__all__ = ["Engine", "EngineSettings"]
