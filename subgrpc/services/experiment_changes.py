"""What happens to one experiment when it is created, changed or cancelled: without any I/O."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from subgrpc import names
from subgrpc.errors import Aborted, FieldViolation, NotFound
from subgrpc.metastore import Transaction
from subgrpc.names import ExperimentName
from subgrpc.services import wire
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentEvent
from subgrpc.validation import raise_violations
from subgrpc.workloads import replicas_of, role_of

TERMINAL: Final = frozenset(
    {
        api.EXPERIMENT_STATE_SUCCEEDED,
        api.EXPERIMENT_STATE_FAILED,
        api.EXPERIMENT_STATE_CANCELLED,
    }
)
_CHANGEABLE: Final = ("display_name", "labels")


def known_team(parent: str) -> str:
    """The team of `teams/TEAM`.

    Raises:
        NotFound: reason TEAM_NOT_FOUND.
    """
    team = names.parse_team(parent)
    if team != names.DEFAULT_TEAM:
        text = f"there is no team {team!r}; there is only teams/{names.DEFAULT_TEAM}"
        raise NotFound(text, reason="TEAM_NOT_FOUND", metadata={"name": parent})
    return team


def missing(*gone: str) -> NotFound:
    """The error that names every experiment that is not there."""
    listed = ", ".join(gone)
    text = f"there is no experiment {listed}" if len(gone) == 1 else f"there are no {listed}"
    return NotFound(text, reason="EXPERIMENT_NOT_FOUND", metadata={"name": listed})


def new_experiment(
    request: api.CreateExperimentRequest, team: str, cluster: str, principal: str
) -> Experiment:
    """What a valid request creates on a cluster (`clusters/NAME`)."""
    uid = names.new_uid()
    # The uid's random end: two experiments of one millisecond share its beginning.
    name = ExperimentName(team, request.experiment_id or f"exp-{uid[-12:]}")
    wanted = request.experiment
    experiment = Experiment(
        name=str(name),
        uid=uid,
        display_name=wanted.display_name,
        creator=principal,
        cluster=cluster,
        state=api.EXPERIMENT_STATE_QUEUED,
    )
    # As arguments, maps are copied by generic Python code.
    experiment.labels.MergeFrom(wanted.labels)
    experiment.spec.CopyFrom(wanted.spec)
    for group in wanted.spec.task_groups:
        replicas = replicas_of(group)
        experiment.roles.add(role=role_of(group), replicas=replicas, pending=replicas)
    return experiment


def cancel_now(experiment: Experiment, now: Timestamp) -> None:
    """Ends an experiment of which nothing was ever started."""
    experiment.state = api.EXPERIMENT_STATE_CANCELLED
    experiment.end_time.CopyFrom(now)
    for role in experiment.roles:
        role.pending, role.cancelled = 0, role.replicas


def event(experiment: Experiment, kind: str) -> ExperimentEvent:
    """An entry of the experiment's history, with why it is in the state that it is in now."""
    return ExperimentEvent(
        type=kind,
        state=experiment.state,
        reason=experiment.reason,
        message=experiment.message,
        attempt=experiment.attempt,
    )


def load(tx: Transaction, name: ExperimentName) -> Experiment:
    """The experiment of that name, to be changed.

    Raises:
        NotFound: reason EXPERIMENT_NOT_FOUND.
    """
    experiment = tx.experiment_by_name(name.team, name.experiment)
    if experiment is None:
        raise missing(str(name))
    return experiment


class Tagged(Protocol):
    """A resource that can be changed."""

    name: str
    etag: str


def check_etag(resource: Tagged, wanted: str) -> None:
    """Sees to it that nobody has changed a resource since the caller saw it.

    Raises:
        Aborted: reason ETAG_MISMATCH. An empty etag is any.
    """
    if wanted and wanted != resource.etag:
        text = f"{resource.name} has changed: its etag is {resource.etag!r}, not {wanted!r}"
        raise Aborted(text, reason="ETAG_MISMATCH", metadata={"etag": resource.etag})


def masked(paths: Collection[str], changeable: Collection[str] = _CHANGEABLE) -> Collection[str]:
    """The fields that an update changes.

    Args:
        paths: those that it names; none: all.
        changeable: those that there are.

    Raises:
        InvalidArgument: a path is none of a changeable field.
    """
    raise_violations(
        [
            FieldViolation(
                "update_mask",
                f"{path!r} cannot be changed; what can is {' and '.join(changeable)}",
                "UPDATE_MASK",
            )
            for path in paths
            if path not in changeable
        ]
    )
    return paths or changeable


def response(experiment: Experiment) -> bytes:
    """Every response that holds one experiment holds it in field 1."""
    return wire.length_delimited(1, experiment.SerializeToString())


def timestamp(micros: int) -> Timestamp:
    """A Timestamp from microseconds since the epoch."""
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)
