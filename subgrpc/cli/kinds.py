"""How each kind of resource looks in a list: its columns, its name, its key in JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

from subgrpc.cli import output
from subgrpc.cli.options import short_artifact, short_name

if TYPE_CHECKING:
    from subgrpc.v1.artifact_service_pb2 import Artifact, ArtifactFile
    from subgrpc.v1.cluster_service_pb2 import Cluster
    from subgrpc.v1.experiment_service_pb2 import (
        Experiment,
        ExperimentEvent,
        ExperimentInput,
        ExperimentOutput,
        Task,
    )
    from subgrpc.v1.types_pb2 import Resources

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column of a table.

    Attributes:
        title: its header.
        text: what stands in it.
        wide: whether only `-o wide` shows it.
        least: characters that it gets where later rows are not known yet.
    """

    title: str
    text: Callable[[T], str]
    wide: bool = False
    least: int = 0


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A kind of resource.

    Attributes:
        key: the list's key in JSON.
        name: what `-o name` prints, and other commands take.
        columns: of its table.
    """

    key: str
    name: Callable[[T], str]
    columns: tuple[Column[T], ...]

    def print_list(self, form: str, items: Sequence[T], **more: Any) -> None:
        """Prints items; `more` stands beside them in JSON. A table without rows is not printed."""
        if form in ("json", "yaml"):
            output.print_document(form, {**more, self.key: list(items)}, name="")
        elif form == "name":
            click.echo("".join(f"{self.name(each)}\n" for each in items), nl=False)
        elif items:
            shown = self.shown(form)
            rows = [[column.text(each) for column in shown] for each in items]
            output.print_table([column.title for column in shown], rows)

    def shown(self, form: str) -> list[Column[T]]:
        """The columns of a table."""
        return [each for each in self.columns if form == "wide" or not each.wide]


def _task_state(task: Task) -> str:
    from subgrpc.v1.types_pb2 import TaskState

    return output.enum_word(TaskState.Name(task.status.state), "TASK_STATE_")


def _event_state(event: ExperimentEvent) -> str:
    from subgrpc.v1.experiment_service_pb2 import ExperimentState

    return output.enum_word(ExperimentState.Name(event.state), "EXPERIMENT_STATE_")


def _health(cluster: Cluster) -> str:
    from subgrpc.v1.cluster_service_pb2 import ClusterHealth

    return output.enum_word(ClusterHealth.Name(cluster.health), "CLUSTER_HEALTH_")


def _exit(task: Task) -> str:
    status = task.status
    if status.signal:
        return f"signal {status.signal}"
    return str(status.exit_code) if status.HasField("exit_code") else ""


def labels(experiment: Experiment | Artifact) -> str:
    """The labels of something in one line."""
    return ", ".join(f"{key}={value}" for key, value in sorted(experiment.labels.items()))


def _of(used: str, room: str) -> str:
    return f"{used} of {room}" if room else ""


def _memory(resources: Resources) -> str:
    from subgrpc.quantities import parse_bytes, show_bytes

    try:
        return show_bytes(parse_bytes(resources.memory)) if resources.memory else ""
    except ValueError:  # "0", or a unit that only its driver knows
        return resources.memory


def _gpus(cluster: Cluster) -> str:
    room = cluster.capacity.gpus
    return _of(str(cluster.allocated.gpus), str(room)) if room else ""


def _cluster_name(cluster: Cluster) -> str:
    return cluster.name.removeprefix("clusters/")


def artifact_state(artifact: Artifact) -> str:
    """An artifact's state as people say it: `READY`."""
    from subgrpc.v1.artifact_service_pb2 import ArtifactState

    return output.enum_word(ArtifactState.Name(artifact.state), "ARTIFACT_STATE_")


def artifact_source(artifact: Artifact) -> str:
    """The output of an experiment that an artifact is, as commands take it."""
    if not artifact.HasField("source"):
        return ""
    return f"{short_name(artifact.source.experiment)}/{artifact.source.output}"


def show_size(size: int) -> str:
    """A size for people."""
    from subgrpc.quantities import show_bytes

    return show_bytes(size)


def _mode(file: ArtifactFile) -> str:
    return "link" if file.link_target else f"{file.mode or 0o644:03o}"


EXPERIMENTS: Kind[Experiment] = Kind(
    "experiments",
    lambda each: short_name(each.name),
    (
        Column("NAME", lambda each: short_name(each.name), least=24),
        Column("STATE", output.state_word, least=10),
        Column("REASON", lambda each: each.reason, least=19),
        Column("CLUSTER", lambda each: each.cluster.removeprefix("clusters/"), least=8),
        Column("CREATED", lambda each: output.when(each.create_time), least=19),
        Column("TOOK", output.took),
        Column("ATTEMPT", lambda each: str(each.attempt or ""), wide=True),
        Column("CREATOR", lambda each: each.creator, wide=True),
        Column("LABELS", labels, wide=True),
        Column("MESSAGE", lambda each: each.message, wide=True),
    ),
)
TASKS: Kind[Task] = Kind(
    "tasks",
    lambda each: each.name,
    (
        Column("TASK", lambda each: f"{each.status.role}-{each.status.index}"),
        Column("ATTEMPT", lambda each: str(each.attempt)),
        Column("STATE", _task_state),
        Column("REASON", lambda each: each.status.reason),
        Column("EXIT", _exit),
        Column("TOOK", lambda each: output.between(each.status.start_time, each.status.end_time)),
        Column("NODE", lambda each: each.status.node),
        Column("STARTED", lambda each: output.when(each.status.start_time), wide=True),
        Column("ENDED", lambda each: output.when(each.status.end_time), wide=True),
        Column("MESSAGE", lambda each: each.status.message, wide=True),
    ),
)
INPUTS: Kind[ExperimentInput] = Kind(
    "inputs",
    lambda each: short_artifact(each.artifact),
    (
        Column("INPUT", lambda each: each.input),
        Column("FILES", lambda each: str(each.file_count)),
        Column("SIZE", lambda each: show_size(each.size_bytes)),
        Column("ARTIFACT", lambda each: short_artifact(each.artifact)),
        Column("MODEL", lambda each: "/".join(each.model_version.split("/")[3::2])),
    ),
)
OUTPUTS: Kind[ExperimentOutput] = Kind(
    "outputs",
    lambda each: short_artifact(each.artifact),
    (
        Column("OUTPUT", lambda each: each.output),
        Column("TASK", lambda each: each.task),
        Column("FILES", lambda each: str(each.file_count)),
        Column("SIZE", lambda each: show_size(each.size_bytes)),
        Column("ARTIFACT", lambda each: short_artifact(each.artifact)),
        Column("ATTEMPT", lambda each: str(each.attempt), wide=True),
        Column("SEQUENCE", lambda each: str(each.sequence), wide=True),
    ),
)
EVENTS: Kind[ExperimentEvent] = Kind(
    "events",
    lambda each: str(each.sequence),
    (
        Column("SEQUENCE", lambda each: str(each.sequence), wide=True),
        Column("TIME", lambda each: output.when(each.time)),
        Column("TYPE", lambda each: each.type),
        Column("STATE", _event_state),
        Column("REASON", lambda each: each.reason),
        Column("ATTEMPT", lambda each: str(each.attempt or ""), wide=True),
        Column("TASK", lambda each: each.task),
        Column("MESSAGE", lambda each: each.message),
    ),
)
CLUSTERS: Kind[Cluster] = Kind(
    "clusters",
    _cluster_name,
    (
        Column("CLUSTER", lambda each: _cluster_name(each) + (" (default)" * each.default)),
        Column("DRIVER", lambda each: each.driver),
        Column("HEALTH", _health),
        Column("CPU", lambda each: _of(each.allocated.cpu or "0", each.capacity.cpu)),
        Column("MEMORY", lambda each: _of(_memory(each.allocated) or "0", _memory(each.capacity))),
        Column("GPUS", _gpus),
        Column("PLATFORM", lambda each: each.platform, wide=True),
        Column("CAPABILITIES", lambda each: ", ".join(each.capabilities), wide=True),
        Column("CHECKED", lambda each: output.when(each.check_time), wide=True),
        Column("WHY", lambda each: ": ".join(t for t in (each.reason, each.message) if t)),
    ),
)
ARTIFACTS: Kind[Artifact] = Kind(
    "artifacts",
    lambda each: short_artifact(each.name),
    (
        Column("NAME", lambda each: short_artifact(each.name)),
        Column("STATE", artifact_state),
        Column("FILES", lambda each: str(each.file_count)),
        Column("SIZE", lambda each: show_size(each.size_bytes)),
        Column("CREATED", lambda each: output.when(each.create_time)),
        Column("SOURCE", artifact_source),
        Column("CREATOR", lambda each: each.creator, wide=True),
        Column("DIGEST", lambda each: each.digest[:16], wide=True),
        Column("LABELS", labels, wide=True),
        Column("DISPLAY NAME", lambda each: each.display_name, wide=True),
    ),
)
FILES: Kind[ArtifactFile] = Kind(
    "files",
    lambda each: each.path,
    (
        Column("MODE", _mode),
        Column("SIZE", lambda each: show_size(each.size_bytes)),
        Column("SHA256", lambda each: each.sha256, wide=True),
        Column("CHUNKS", lambda each: str(len(each.chunks) or int(each.size_bytes > 0)), wide=True),
        Column(
            "PATH",
            lambda each: each.path + (f" -> {each.link_target}" if each.link_target else ""),
        ),
    ),
)
