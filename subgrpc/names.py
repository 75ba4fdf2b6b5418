"""Resource names and uids: how they are written, read and made."""

from __future__ import annotations

import random
import re
import time
from functools import cache
from typing import NamedTuple

from subgrpc.errors import FieldViolation, InvalidArgument

DEFAULT_TEAM = "default"
DEFAULT_ROLE = "main"
"""The role of a task group that names none."""
_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
_MILLISECONDS = (1 << 48) - 1
_random = random.Random()
"""Seeded by the system; asking the system every time costs 50 µs in some sandboxes."""
SEGMENT = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""A segment that a client may choose: a DNS label that starts with a letter."""

_UID = re.compile(r"[0-9a-v]{26}")
_FORMS = {
    "attempts": re.compile(r"-|[1-9][0-9]{0,8}"),
    "versions": re.compile(r"[1-9][0-9]{0,8}"),
}


class ExperimentName(NamedTuple):
    """`teams/{team}/experiments/{experiment}`."""

    team: str
    experiment: str

    def __str__(self) -> str:
        return f"teams/{self.team}/experiments/{self.experiment}"


class ArtifactName(NamedTuple):
    """`teams/{team}/artifacts/{artifact}`."""

    team: str
    artifact: str

    def __str__(self) -> str:
        return f"teams/{self.team}/artifacts/{self.artifact}"


class ModelName(NamedTuple):
    """`teams/{team}/models/{model}`."""

    team: str
    model: str

    def __str__(self) -> str:
        return f"teams/{self.team}/models/{self.model}"


class VersionName(NamedTuple):
    """`teams/{team}/models/{model}/versions/{number}`."""

    team: str
    model: str
    number: int

    def __str__(self) -> str:
        return f"{self.of}/versions/{self.number}"

    @property
    def of(self) -> ModelName:
        """The model."""
        return ModelName(self.team, self.model)


class AliasName(NamedTuple):
    """`teams/{team}/models/{model}/aliases/{alias}`."""

    team: str
    model: str
    alias: str

    def __str__(self) -> str:
        return f"{self.of}/aliases/{self.alias}"

    @property
    def of(self) -> ModelName:
        """The model."""
        return ModelName(self.team, self.model)


def new_uid() -> str:
    """Returns 26 characters of lower-case base32, ordered by time.

    48 bits of milliseconds, then 80 random ones: the layout of a ULID.
    """
    # 130 bits, the last two of them 0, as base32 fills up 16 bytes.
    bits = ((time.time_ns() // 1_000_000 & _MILLISECONDS) << 80 | _random.getrandbits(80)) << 2
    return "".join([_PAIRS[bits >> shift & 0x3FF] for shift in range(120, -1, -10)])


def uid_time(uid: str) -> int:
    """Returns when a uid was made, in µs since the epoch.

    Raises:
        ValueError: it is no uid.
    """
    if _UID.fullmatch(uid) is None:
        raise ValueError(f"{uid!r} is no uid")
    # 50 bits: the 48 of the time, and two random ones.
    return (int(uid[:10], 32) >> 2) * 1_000


def team_name(team: str) -> str:
    """Returns `teams/{team}`."""
    return f"teams/{team}"


def experiment_name(experiment: str) -> str:
    """Returns `teams/{team}/experiments/{experiment}`, whichever of both forms is given; "": "".

    The short form is of the only team that there is.
    """
    if not experiment or "/" in experiment:
        return experiment
    return str(ExperimentName(DEFAULT_TEAM, experiment))


def cluster_name(cluster: str) -> str:
    """Returns `clusters/{cluster}`, whichever of both forms is given."""
    return cluster if cluster.startswith("clusters/") else f"clusters/{cluster}"


def parse_team(name: str, field: str = "parent") -> str:
    """Returns the team of `teams/{team}`.

    Raises:
        InvalidArgument: the name has another form.
    """
    return _parse(name, "teams/*", field)[0]


def parse_experiment(name: str, field: str = "name") -> ExperimentName:
    """Reads `teams/{team}/experiments/{experiment}`.

    Raises:
        InvalidArgument: the name has another form.
    """
    return ExperimentName(*_parse(name, "teams/*/experiments/*", field))


def parse_artifact(name: str, field: str = "name") -> ArtifactName:
    """Reads `teams/{team}/artifacts/{artifact}`.

    Raises:
        InvalidArgument: the name has another form.
    """
    return ArtifactName(*_parse(name, "teams/*/artifacts/*", field))


def parse_model(name: str, field: str = "name") -> ModelName:
    """Reads `teams/{team}/models/{model}`.

    Raises:
        InvalidArgument: the name has another form.
    """
    return ModelName(*_parse(name, "teams/*/models/*", field))


def parse_version(name: str, field: str = "name") -> VersionName:
    """Reads `teams/{team}/models/{model}/versions/{number}`.

    Raises:
        InvalidArgument: the name has another form.
    """
    team, model, number = _parse(name, "teams/*/models/*/versions/*", field)
    return VersionName(team, model, int(number))


def parse_alias(name: str, field: str = "name") -> AliasName:
    """Reads `teams/{team}/models/{model}/aliases/{alias}`.

    Raises:
        InvalidArgument: the name has another form.
    """
    return AliasName(*_parse(name, "teams/*/models/*/aliases/*", field))


def parse_cluster(name: str, field: str = "name") -> str:
    """Returns the cluster of `clusters/{cluster}`.

    Raises:
        InvalidArgument: the name has another form.
    """
    return _parse(name, "clusters/*", field)[0]


def attempt_name(experiment: str, attempt: int) -> str:
    """Returns `{experiment}/attempts/{attempt}`."""
    return f"{experiment}/attempts/{attempt}"


def task_id(role: str, index: int) -> str:
    """Returns `{role}-{index}`: a task within its attempt."""
    return f"{role}-{index}"


def task_name(experiment: str, attempt: int, role: str, index: int) -> str:
    """Returns `{experiment}/attempts/{attempt}/tasks/{role}-{index}`."""
    return f"{attempt_name(experiment, attempt)}/tasks/{task_id(role, index)}"


def match(name: str, pattern: str) -> list[str] | None:
    """Returns what stands at the `*` of a pattern such as `teams/*/experiments/*`; None: no match.

    A `*` matches one segment of the form `SEGMENT`; behind "versions" a number, behind "attempts"
    a number, or "-" for all.
    """
    found = _compiled(pattern).fullmatch(name)
    return None if found is None else list(found.groups())


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern, with a group for each `*`."""
    parts = []
    collection = ""
    for segment in pattern.split("/"):
        form = _FORMS.get(collection, SEGMENT)
        parts.append(f"({form.pattern})" if segment == "*" else re.escape(segment))
        collection = segment
    return re.compile("/".join(parts))


def _parse(name: str, pattern: str, field: str) -> list[str]:
    found = match(name, pattern)
    if found is None:
        shown = name if len(name) <= 100 else name[:100] + "…"
        text = f"{shown!r} is not a resource name of the form {pattern}"
        raise InvalidArgument(violations=[FieldViolation(field, text, "RESOURCE_NAME")])
    return found
