"""The CamelCase words of `reason` in experiments, tasks and events. Drivers may add their own."""

from __future__ import annotations

from typing import Final

# How a task's process ended.
EXIT_CODE: Final = "ExitCode"
SIGNAL: Final = "Signal"
OUT_OF_MEMORY: Final = "OutOfMemory"
TIMEOUT: Final = "Timeout"
COMMAND_NOT_FOUND: Final = "CommandNotFound"
COMMAND_NOT_EXECUTABLE: Final = "CommandNotExecutable"
START_FAILED: Final = "StartFailed"
STOPPED: Final = "Stopped"
LOST: Final = "Lost"
OUTPUT_MISSING: Final = "OutputMissing"
OUTPUT_FAILED: Final = "OutputFailed"

# Why an experiment waits.
WAITING_FOR_RESOURCES: Final = "WaitingForResources"
CLUSTER_UNHEALTHY: Final = "ClusterUnhealthy"
BACKOFF: Final = "Backoff"
FETCHING_INPUTS: Final = "FetchingInputs"
UPLOADING_OUTPUTS: Final = "UploadingOutputs"

# How an experiment ended without a task's doing.
QUEUE_TIMEOUT: Final = "QueueTimeout"
CANCELLED: Final = "Cancelled"
DELETED: Final = "Deleted"
DRIVER_ERROR: Final = "DriverError"
INVALID_SPEC: Final = "InvalidSpec"
INPUT_FAILED: Final = "InputFailed"
SECRET_NOT_FOUND: Final = "SecretNotFound"
