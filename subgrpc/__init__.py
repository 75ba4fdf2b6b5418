"""subgrpc: the control plane of a machine-learning platform, as a gRPC service."""

from __future__ import annotations

__version__ = "0.1.0.dev0"
