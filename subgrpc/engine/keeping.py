"""What is kept of experiments' outputs: which, under which names, and what that means. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from subgrpc import names, reasons
from subgrpc.driver import TaskKey
from subgrpc.quantities import show_bytes
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.artifact_service_pb2 import ArtifactSource
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentOutput
from subgrpc.v1.spec_pb2 import Output, OutputWhen
from subgrpc.v1.types_pb2 import TaskStatus
from subgrpc.workloads import replicas_of, role_of

MOST_SHOWN = 100
"""Outputs that an experiment names; all of them are found among the artifacts."""
_ID_BYTES = 15


@dataclass(frozen=True, slots=True)
class Stored:
    """An output that is an artifact now.

    Attributes:
        output: as the experiment shows it.
        note: what was left out of it, for a person.
    """

    output: ExperimentOutput
    note: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """How far the outputs of an attempt are stored.

    Attributes:
        stored: those that are.
        waits: what is being stored, for a person; empty: nothing is left to be stored.
        trouble: why that does not go on; it is tried again.
        failure: reason and message, if a required output never can be stored.
    """

    stored: tuple[Stored, ...] = ()
    waits: str = ""
    trouble: str = ""
    failure: tuple[str, str] | None = None


NOTHING = Kept()


def makers(experiment: Experiment, output: Output) -> list[TaskKey]:
    """The tasks that make an output."""
    groups = experiment.spec.task_groups
    role = output.role or role_of(groups[0])
    count = next((replicas_of(each) for each in groups if role_of(each) == role), 0)
    return [TaskKey(role, index) for index in range(count if output.every_task else min(count, 1))]


def is_wanted(output: Output, *, final: bool, succeeded: bool) -> bool:
    """Whether something that was taken of an output is to be stored.

    Checkpoints are: they were taken for the case that it does not succeed.
    """
    return succeeded or not final or output.when == OutputWhen.OUTPUT_WHEN_ALWAYS


def missing(
    experiment: Experiment, tasks: Iterable[TaskStatus], stored: Iterable[ExperimentOutput]
) -> str:
    """Says which required output of an attempt that succeeded was not stored; empty: none."""
    ended = {(task.role, task.index) for task in tasks}
    there = {(each.output, each.task) for each in stored}
    for output in experiment.spec.outputs:
        for task in makers(experiment, output):
            if not output.optional and task in ended and (output.name, str(task)) not in there:
                return f"the backend no longer has output {output.name!r} of task {task}"
    return ""


def source_of(
    experiment: Experiment, attempt: int, output: str, task: TaskKey, sequence: int
) -> ArtifactSource:
    """Where the artifact of an output comes from."""
    return ArtifactSource(
        experiment=experiment.name,
        experiment_uid=experiment.uid,
        attempt=attempt,
        output=output,
        task=str(task),
        sequence=sequence,
    )


def artifact_name(source: ArtifactSource) -> str:
    """The name of an output's artifact: the same whenever, and by whomever, it is made."""
    text = f"{source.experiment_uid}/{source.attempt}/{source.task}/{source.sequence}"
    digest = hashlib.sha256(f"{text}/{source.output}".encode()).digest()[:_ID_BYTES]
    short = base64.b32encode(digest).decode().lower()
    team = names.parse_experiment(source.experiment).team
    return f"{names.team_name(team)}/artifacts/{source.output}-{short[:20]}"


def model_name(experiment: Experiment, model: str) -> str:
    """The full name of a model that an output names."""
    return str(names.ModelName(names.parse_experiment(experiment.name).team, model))


def outdated(source: ArtifactSource, keep_last: int) -> list[str]:
    """The artifacts of checkpoints that are too many once this one is stored.

    A few more than one: some may have been left by a server that died.
    """
    last = source.sequence - max(keep_last, 1)
    found = []
    for sequence in range(max(1, last - 9), last + 1):
        older = ArtifactSource()
        older.CopyFrom(source)
        older.sequence = sequence
        found.append(artifact_name(older))
    return found


def unregistered(experiment: Experiment, stored: Iterable[Stored]) -> list[tuple[str, Stored]]:
    """What is to become a version of a model still, and of which, by `Output.model`."""
    wanted = {each.name: each.model for each in experiment.spec.outputs if each.model}
    return [
        (wanted[each.output.output], each)
        for each in stored
        if each.output.output in wanted and not each.output.model_version
    ]


def record(experiment: Experiment, stored: Sequence[Stored]) -> list[Stored]:
    """Lets an experiment name what was stored; returns what it did not name before."""
    shown = {(each.output, each.task): each for each in experiment.outputs}
    news = []
    for each in stored:
        key = each.output.output, each.output.task
        before = shown.get(key)
        newer = before is None or _age(before) < _age(each.output)
        if newer or (each.output.model_version and before != each.output):
            news.append(each)
            shown[key] = each.output
    if news:
        newest = sorted(shown.values(), key=_age)[-MOST_SHOWN:]
        newest.sort(key=lambda each: (each.output, each.task))
        del experiment.outputs[:]
        experiment.outputs.extend(newest)
    return news


def event_of(stored: Stored) -> tuple[str, str]:
    """An event's type and message."""
    output = stored.output
    if output.model_version:
        return "ModelRegistered", f"{output.output}: {output.artifact} is {output.model_version}"
    files = f"{output.file_count} file{'s' if output.file_count != 1 else ''}"
    text = f"{output.output}: {files}, {show_bytes(output.size_bytes)}, as {output.artifact}"
    return "OutputStored", f"{text}; left out: {stored.note}" if stored.note else text


def wait_for(experiment: Experiment, kept: Kept, *, stopping: bool) -> None:
    """Lets an experiment whose tasks are over say that its outputs are being stored."""
    if experiment.state == api.EXPERIMENT_STATE_CANCELLING or stopping:
        return  # it says why it was stopped, which its end repeats
    experiment.state = api.EXPERIMENT_STATE_RUNNING
    experiment.reason = reasons.UPLOADING_OUTPUTS
    experiment.message = f"{kept.waits}; {kept.trouble}" if kept.trouble else kept.waits


def _age(output: ExperimentOutput) -> tuple[int, int]:
    return output.attempt, output.sequence
