"""What to type next, for whoever waits or has met a failure."""

from __future__ import annotations

import pytest

from subgrpc.cli.advice import next_step
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentState


@pytest.mark.parametrize(
    ("state", "reason", "attempt", "told"),
    [
        ("QUEUED", "WaitingForResources", 0, "subgrpc clusters"),
        ("QUEUED", "ClusterUnhealthy", 0, "subgrpc clusters"),
        ("QUEUED", "Backoff", 2, "subgrpc logs --attempt 2 e"),
        ("QUEUED", "Odd", 0, "subgrpc events e"),
        ("QUEUED", "", 0, "subgrpc events e"),
        ("FAILED", "ExitCode", 3, "subgrpc logs --attempt 3 e"),
        ("FAILED", "QueueTimeout", 0, "subgrpc events e"),
        ("RUNNING", "", 1, ""),
        ("SUCCEEDED", "", 1, ""),
    ],
)
def test_each_reason_has_its_command(state: str, reason: str, attempt: int, told: str) -> None:
    """And where nothing has to be done, nothing is said."""
    number = ExperimentState.Value(f"EXPERIMENT_STATE_{state}")
    experiment = Experiment(
        name="teams/default/experiments/e", state=number, reason=reason, attempt=attempt
    )
    step = next_step(experiment)
    assert told in step if told else step == ""
