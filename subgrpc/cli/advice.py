"""What to type next, for an experiment that waits or has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from subgrpc import reasons
from subgrpc.cli import output
from subgrpc.cli.options import short_name

if TYPE_CHECKING:
    from subgrpc.v1.experiment_service_pb2 import Experiment


def next_step(experiment: Experiment) -> str:
    """The next command and what it is good for; empty where nothing has to be done."""
    name = short_name(experiment.name)
    state = output.state_word(experiment)
    if state == "QUEUED":
        return _why_it_waits(name, experiment)
    if state == "FAILED":
        # Without an attempt nothing was written.
        if experiment.attempt:
            return f"what it wrote: subgrpc logs --attempt {experiment.attempt} {name}"
        return f"how it came to this: subgrpc events {name}"
    return ""


def _why_it_waits(name: str, experiment: Experiment) -> str:
    reason = experiment.reason
    if reason == reasons.WAITING_FOR_RESOURCES:
        return f"what is free: subgrpc clusters; what runs: subgrpc list --filter {_RUNNING}"
    if reason == reasons.CLUSTER_UNHEALTHY:
        return "what the cluster lacks: subgrpc clusters"
    if reason == reasons.BACKOFF and experiment.attempt:
        return f"why the last attempt failed: subgrpc logs --attempt {experiment.attempt} {name}"
    return f"what it has done so far: subgrpc events {name}"


_RUNNING = "'state = RUNNING'"
