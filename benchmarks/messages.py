"""What is asked for: requests of a size that is usual, and files that hold them for the load."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.message import Message

from subgrpc.v1 import experiment_service_pb2 as api

TEAM = "teams/default"
NUMBER = "@@@@@@"
"""The load replaces it by a number of six digits."""


def training(experiment_id: str = "") -> api.CreateExperimentRequest:
    """A request to create what a data scientist would: one role, labels, some environment."""
    request = api.CreateExperimentRequest(parent=TEAM, experiment_id=experiment_id)
    experiment = request.experiment
    experiment.labels.update({"project": "digits", "stage": "test"})
    group = experiment.spec.task_groups.add(args=["python", "train.py", "--epochs", "10"])
    for name, value in (("LEARNING_RATE", "0.01"), ("BATCH_SIZE", "256")):
        group.env.add(name=name, value=value)
    return request


def program(*args: str, experiment_id: str = "") -> api.CreateExperimentRequest:
    """A request to run a program."""
    request = api.CreateExperimentRequest(parent=TEAM, experiment_id=experiment_id)
    request.experiment.spec.task_groups.add(args=args)
    return request


def name_of(experiment_id: str) -> str:
    """The name of an experiment."""
    return f"{TEAM}/experiments/{experiment_id}"


def write(path: Path, request: Message | bytes) -> Path:
    """Writes a request for the load; returns the path."""
    path.write_bytes(request if isinstance(request, bytes) else request.SerializeToString())
    return path
