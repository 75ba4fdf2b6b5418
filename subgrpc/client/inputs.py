"""What people give instead of messages: short names, commands, spans of time, specs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from subgrpc import names
from subgrpc.errors import FieldViolation, InvalidArgument
from subgrpc.v1.experiment_service_pb2 import Experiment
from subgrpc.v1.spec_pb2 import ExperimentSpec

if TYPE_CHECKING:
    from subgrpc.spec import Spec

SpecLike: TypeAlias = (
    "Spec | Experiment | ExperimentSpec | Mapping[str, Any] | str | os.PathLike[str]"
)
"""A spec: what `load_spec` returns, a message, what a spec file would hold, or a file's path."""
Command: TypeAlias = str | Sequence[str]
"""A line for the shell, or an argument vector that no shell reads."""
Span: TypeAlias = float | str | timedelta
"""A span of time: seconds, a text such as "90s" or "1h30m", or a timedelta."""


class Wanted(NamedTuple):
    """What is to be created.

    Attributes:
        experiment_id: empty: the server makes one.
        experiment: display name, labels and spec.
    """

    experiment_id: str
    experiment: Experiment


def full_name(name: str, parent: str = names.team_name(names.DEFAULT_TEAM)) -> str:
    """The resource name of an experiment of which the last part, or all of it, is given."""
    return name if "/" in name else f"{parent}/experiments/{name}"


def artifact_name(name: str, parent: str = names.team_name(names.DEFAULT_TEAM)) -> str:
    """The resource name of an artifact of which the last part, or all of it, is given."""
    return name if "/" in name else f"{parent}/artifacts/{name}"


def output_filter(name: str) -> str:
    """The filter that finds the output EXPERIMENT/OUTPUT; empty: the name has another form.

    EXPERIMENT is an id, or a full name.
    """
    experiment, slash, output = name.rpartition("/")
    is_short = names.SEGMENT.fullmatch(experiment) is not None
    is_full = names.match(experiment, "teams/*/experiments/*") is not None
    if not slash or not output or not (is_short or is_full) or set(output) & set('"\\'):
        return ""
    return f'experiment = "{full_name(experiment)}" AND output = "{output}" AND state = READY'


def log_target(name: str, attempt: int | None, since_attempt: int | None, task: str) -> str:
    """The resource name of what logs are asked of: an experiment, an attempt or a task.

    Raises:
        InvalidArgument: both attempts are given.
    """
    if attempt is not None and since_attempt is not None:
        raise _refused("since_attempt", "give either attempt or since_attempt")
    target, first = full_name(name), since_attempt if attempt is None else attempt
    if first is not None or task:
        target = names.attempt_name(target, 1 if first is None else first)
    return f"{target}/tasks/{task}" if task else target


def build(
    spec: SpecLike | None,
    command: Command | None,
    *,
    name: str = "",
    display_name: str = "",
    labels: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    cpu: str | float | None = None,
    memory: str | None = None,
    gpus: int | None = None,
    replicas: int | None = None,
    cluster: str = "",
    timeout: Span | None = None,
    max_retries: int | None = None,
    working_directory: str | os.PathLike[str] | None = None,
) -> Wanted:
    """What `Experiments.create` was asked for.

    Raises:
        InvalidArgument: with a violation for each argument that cannot be understood.
    """
    given = {"cpu": cpu, "memory": memory, "gpus": gpus, "replicas": replicas}
    if (spec is None) == (command is None):
        raise _refused("spec", "give either spec or command")
    if spec is None:
        assert command is not None
        made = _of_command(command, given)
    else:
        for key in [key for key, value in given.items() if value is not None]:
            raise _refused(key, "is for a command; a spec says it for each of its roles")
        made = _of_spec(spec)
    experiment = made.experiment
    experiment.labels.update(labels or {})
    experiment.display_name = display_name or experiment.display_name
    experiment.spec.cluster = cluster or experiment.spec.cluster
    for key, value in (env or {}).items():
        _set_env(experiment.spec, key, value)
    if timeout is not None:
        experiment.spec.timeout.FromNanoseconds(_nanoseconds(timeout, "timeout"))
    if max_retries is not None:
        experiment.spec.retry_policy.max_retries = max_retries
    if working_directory is not None:
        folder = os.path.abspath(os.path.expanduser(working_directory))
        experiment.spec.driver_options["local"]["working_directory"] = folder
    return Wanted(name or made.experiment_id, experiment)


def _of_command(command: Command, given: Mapping[str, Any]) -> Wanted:
    experiment = Experiment()
    group = experiment.spec.task_groups.add()
    if isinstance(command, str):
        group.command = command
    else:
        group.args.extend(command)
    if given["replicas"] is not None:
        group.replicas = given["replicas"]
    if given["cpu"] is not None:
        group.resources.cpu = str(given["cpu"])
    if given["memory"] is not None:
        group.resources.memory = given["memory"]
    if given["gpus"] is not None:
        group.resources.gpus = given["gpus"]
    return Wanted("", experiment)


def _of_spec(spec: SpecLike) -> Wanted:
    """Never what was given itself: it is changed afterwards."""
    if isinstance(spec, ExperimentSpec):
        return Wanted("", Experiment(spec=spec))
    if isinstance(spec, Experiment):
        experiment_id, given = spec.name.rpartition("/")[2], spec
    else:
        read = _read(spec)
        experiment_id, given = read.experiment_id, read.experiment
    copy = Experiment(display_name=given.display_name, labels=given.labels, spec=given.spec)
    return Wanted(experiment_id, copy)


def _read(spec: Spec | Mapping[str, Any] | str | os.PathLike[str]) -> Spec:
    # Imported here: completion of names on the command line waits for this module.
    from subgrpc.spec import Spec, load_spec, parse_spec

    if isinstance(spec, Spec):
        return spec
    if not isinstance(spec, Mapping):
        return load_spec(Path(spec))
    try:
        text = json.dumps(spec)
    except (TypeError, ValueError) as error:
        raise _refused("spec", f"holds what no spec file can: {error}") from error
    return parse_spec(text, is_json=True)


def _set_env(spec: ExperimentSpec, key: str, value: str) -> None:
    # A group's variable would win over one of the whole experiment.
    for variables in (spec.env, *(group.env for group in spec.task_groups)):
        kept = [each for each in variables if each.name != key]
        del variables[:]
        variables.extend(kept)
    spec.env.add(name=key, value=value)


def _nanoseconds(span: Span, field: str) -> int:
    if isinstance(span, timedelta):
        return round(span.total_seconds() * 1e9)
    if isinstance(span, str):
        from subgrpc.spec import parse_duration

        try:
            return parse_duration(span)
        except ValueError as error:
            raise _refused(field, str(error)) from error
    return round(span * 1e9)


def _refused(field: str, text: str) -> InvalidArgument:
    return InvalidArgument(violations=[FieldViolation(field, text)])
