"""The driver SPI: what third parties implement and embed. Loads neither grpc nor the server."""

from __future__ import annotations

from subgrpc.driver.base import (
    ClusterConfig,
    Driver,
    Gone,
    InputContent,
    OutputKey,
    SupportsInputs,
    SupportsOutputs,
    Synced,
    TaskKey,
)
from subgrpc.driver.v1.workload_pb2 import (
    DriverDescription,
    FilePiece,
    InputFile,
    LogChunk,
    LogGap,
    Observation,
    OutputFile,
    Run,
    TaskOutput,
    Workload,
    WorkloadGroup,
    WorkloadInput,
    WorkloadOutput,
)

__all__ = [
    "ClusterConfig",
    "Driver",
    "DriverDescription",
    "FilePiece",
    "Gone",
    "InputContent",
    "InputFile",
    "LogChunk",
    "LogGap",
    "Observation",
    "OutputFile",
    "OutputKey",
    "Run",
    "SupportsInputs",
    "SupportsOutputs",
    "Synced",
    "TaskKey",
    "TaskOutput",
    "Workload",
    "WorkloadGroup",
    "WorkloadInput",
    "WorkloadOutput",
]
