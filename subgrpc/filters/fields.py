"""What filters may name: the fields of experiments and tasks, and how they are read."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from subgrpc import names
from subgrpc.v1.artifact_service_pb2 import ArtifactState
from subgrpc.v1.experiment_service_pb2 import ExperimentState
from subgrpc.v1.types_pb2 import TaskState


class Kind(Enum):
    """What the values of a field are."""

    STRING = "a string"
    NUMBER = "a whole number"
    ENUM = "one of its names"
    TIME = 'a time such as "2026-01-31T12:00:00Z"'
    MAP = "a string, by key"
    NUMBERS = "a number, by key"
    SET = "a string, one of those that it has"


@dataclass(frozen=True, slots=True)
class FilterField:
    """A field that a filter may name.

    Attributes:
        name: as the filter says it.
        kind: what its values are.
        read: returns its value from a message (a time in µs), or None where it is not set; of MAP
            and NUMBERS the mapping, of a SET what contains the strings.
        choices: of an ENUM the numbers by short name.
        prefix: of an ENUM what its full names begin with.
        adapt: brings a string into the form that is stored.
    """

    name: str
    kind: Kind
    read: Callable[[Any], Any]
    choices: Mapping[str, int] = field(default_factory=dict)
    prefix: str = ""
    adapt: Callable[[str], str] = str.__str__


def micros(time: Timestamp) -> int:
    """Returns a Timestamp in microseconds since the epoch, cut."""
    return time.seconds * 1_000_000 + time.nanos // 1_000


def _time(name: str) -> FilterField:
    def read(message: Any) -> int | None:
        return micros(getattr(message, name)) if message.HasField(name) else None

    return FilterField(name, Kind.TIME, read)


def _state(path: str, numbers: Mapping[str, int], prefix: str) -> FilterField:
    choices = {name.removeprefix(prefix): number for name, number in numbers.items() if number}
    return FilterField("state", Kind.ENUM, operator.attrgetter(path), choices, prefix)


def _by_name(*fields: FilterField) -> Mapping[str, FilterField]:
    return {each.name: each for each in fields}


EXPERIMENT_FIELDS = _by_name(
    FilterField("experiment_id", Kind.STRING, lambda it: it.name.rpartition("/")[2]),
    FilterField("uid", Kind.STRING, operator.attrgetter("uid")),
    _state("state", dict(ExperimentState.items()), "EXPERIMENT_STATE_"),
    FilterField("reason", Kind.STRING, operator.attrgetter("reason")),
    FilterField("cluster", Kind.STRING, operator.attrgetter("cluster"), adapt=names.cluster_name),
    FilterField("creator", Kind.STRING, operator.attrgetter("creator")),
    FilterField("display_name", Kind.STRING, operator.attrgetter("display_name")),
    _time("create_time"),
    _time("update_time"),
    _time("end_time"),
    FilterField("labels", Kind.MAP, operator.attrgetter("labels")),
)
"""What a filter over experiments may name."""

ARTIFACT_FIELDS = _by_name(
    FilterField("artifact_id", Kind.STRING, lambda it: it.name.rpartition("/")[2]),
    FilterField("uid", Kind.STRING, operator.attrgetter("uid")),
    _state("state", dict(ArtifactState.items()), "ARTIFACT_STATE_"),
    FilterField("creator", Kind.STRING, operator.attrgetter("creator")),
    FilterField("display_name", Kind.STRING, operator.attrgetter("display_name")),
    FilterField("digest", Kind.STRING, operator.attrgetter("digest")),
    FilterField(
        "experiment",
        Kind.STRING,
        operator.attrgetter("source.experiment"),
        adapt=names.experiment_name,
    ),
    FilterField("output", Kind.STRING, operator.attrgetter("source.output")),
    _time("create_time"),
    _time("update_time"),
    FilterField("labels", Kind.MAP, operator.attrgetter("labels")),
)
"""What a filter over artifacts may name."""

TASK_FIELDS = _by_name(
    _state("status.state", dict(TaskState.items()), "TASK_STATE_"),
    FilterField("role", Kind.STRING, operator.attrgetter("status.role")),
    FilterField("index", Kind.NUMBER, operator.attrgetter("status.index")),
    FilterField("reason", Kind.STRING, operator.attrgetter("status.reason")),
)
"""What a filter over tasks (`subgrpc.v1.Task`) may name."""
