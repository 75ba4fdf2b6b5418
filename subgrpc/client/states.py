"""What an experiment's state says: the words for it, and whether it is final."""

from __future__ import annotations

from typing import Final

from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentState

TERMINAL: Final = frozenset(
    (
        ExperimentState.EXPERIMENT_STATE_SUCCEEDED,
        ExperimentState.EXPERIMENT_STATE_FAILED,
        ExperimentState.EXPERIMENT_STATE_CANCELLED,
    )
)
"""The states that are final."""


def is_terminal(experiment: Experiment) -> bool:
    """Whether an experiment has ended."""
    return experiment.state in TERMINAL


def state_word(experiment: Experiment) -> str:
    """Its state without the enum's prefix, such as `RUNNING`; a number that is newer than we."""
    try:
        name = ExperimentState.Name(experiment.state)
    except ValueError:
        return str(experiment.state)
    return name.removeprefix("EXPERIMENT_STATE_")


def has_many_tasks(experiment: Experiment) -> bool:
    """Whether an experiment has more than one task."""
    groups = experiment.spec.task_groups
    return sum(each.replicas if each.HasField("replicas") else 1 for each in groups) > 1
