"""The driver SPI: what third parties implement and embed. Loads neither grpc nor the server."""

from __future__ import annotations

from subgrpc.driver.base import (
    ClusterConfig,
    Driver,
    Gone,
    OutputKey,
    SupportsOutputs,
    Synced,
    TaskKey,
)
from subgrpc.driver.v1.workload_pb2 import (
    DriverDescription,
    LogChunk,
    LogGap,
    Observation,
    OutputFile,
    OutputPiece,
    Run,
    TaskOutput,
    Workload,
    WorkloadGroup,
    WorkloadOutput,
)

__all__ = [
    "ClusterConfig",
    "Driver",
    "DriverDescription",
    "Gone",
    "LogChunk",
    "LogGap",
    "Observation",
    "OutputFile",
    "OutputKey",
    "OutputPiece",
    "Run",
    "SupportsOutputs",
    "Synced",
    "TaskKey",
    "TaskOutput",
    "Workload",
    "WorkloadGroup",
    "WorkloadOutput",
]
