"""What a request for logs is about: an experiment, one of its attempts, or one task of that."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from subgrpc import names
from subgrpc.errors import FieldViolation, InvalidArgument, NotFound
from subgrpc.metastore import Metastore
from subgrpc.v1.experiment_service_pb2 import Experiment, LogFormat, StreamLogsRequest
from subgrpc.workloads import replicas_of, role_of

_PATTERNS = (
    "teams/*/experiments/*",
    "teams/*/experiments/*/attempts/*",
    "teams/*/experiments/*/attempts/*/tasks/*",
)


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked for, found in the metastore.

    Attributes:
        uid: the experiment's uid.
        name: the experiment's name.
        attempt: only this attempt; 0: all from `first`.
        first: the first attempt that is asked for.
        task: only this task, "role-index"; empty: all.
        stream: only this stream; 0: both.
        text: whether the format is TEXT.
        roles: of the experiment's task groups, in order.
        latest: the experiment's latest attempt; 0: it has none yet.
        fingerprint: what must be the same again when a resume token comes back.
    """

    uid: str
    name: str
    attempt: int
    first: int
    task: str
    stream: int
    text: bool
    roles: tuple[str, ...]
    latest: int
    fingerprint: bytes


async def find_target(request: StreamLogsRequest, metastore: Metastore) -> Target:
    """Finds out what a request is about.

    Raises:
        InvalidArgument: the name has another form.
        NotFound: there is no such experiment, attempt or task.
    """
    team, experiment_id, *rest = _segments(request.name)
    stored = await metastore.get_experiment(team, experiment_id)
    name = f"teams/{team}/experiments/{experiment_id}"
    if stored is None:
        raise NotFound(f"there is no experiment {name}", reason="EXPERIMENT_NOT_FOUND")
    experiment = Experiment.FromString(stored)
    later = request.later_attempts
    first = _attempt(rest[0], experiment, certain=1 if later else 0) if rest else 1
    attempt = first if rest and not later else 0
    task = rest[1] if len(rest) > 1 else ""
    if task and not _has_task(experiment, task):
        raise NotFound(f"{name} has no task {task!r}", reason="TASK_NOT_FOUND")
    text = request.format != LogFormat.LOG_FORMAT_BYTES
    parts = (experiment.uid, attempt, task, int(request.stream), text)
    fingerprint = hashlib.sha256(repr(parts).encode()).digest()
    return Target(
        experiment.uid,
        name,
        attempt,
        first,
        task,
        request.stream,
        text,
        tuple(map(role_of, experiment.spec.task_groups)),
        experiment.attempt,
        fingerprint,
    )


def _segments(name: str) -> list[str]:
    for pattern in _PATTERNS:
        found = names.match(name, pattern)
        if found is not None and (len(found) < 3 or found[2].isdigit()):
            return found
    shown = name if len(name) <= 100 else name[:100] + "…"
    text = f"{shown!r} is not the name of an experiment, an attempt or a task"
    raise InvalidArgument(violations=[FieldViolation("name", text, "RESOURCE_NAME")])


def _attempt(segment: str, experiment: Experiment, *, certain: int) -> int:
    # All from the first on can be asked for before there is one: it is certain to come.
    # An attempt's number has at most 10 digits: int() of thousands would be refused.
    number = int(segment) if len(segment) <= 10 else 0
    if not 1 <= number <= max(experiment.attempt, certain) or segment != str(number):
        text = f"{experiment.name} has no attempt {segment[:20]}{_latest(experiment)}"
        raise NotFound(text, reason="ATTEMPT_NOT_FOUND")
    return number


def _latest(experiment: Experiment) -> str:
    if not experiment.attempt:
        return ": its first has not started yet"
    return f": its latest is {experiment.attempt}"


def _has_task(experiment: Experiment, task: str) -> bool:
    role, _, index = task.rpartition("-")
    if not (index.isdigit() and len(index) <= 10 and index == str(int(index))):
        return False
    return any(
        role_of(group) == role and int(index) < replicas_of(group)
        for group in experiment.spec.task_groups
    )
