"""The driver contract: what a backend must be able to do, as an abstract asynchronous class.

The messages are those of `subgrpc.driver.v1`, so that a driver is the same thing in this process
and behind `DriverService`. Every method may be called again after a crash of the caller: each is
idempotent, and nothing but `handle` and the run key is needed to go on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, NamedTuple, Protocol

from subgrpc.driver.v1.workload_pb2 import (
    DriverDescription,
    FilePiece,
    InputFile,
    LogChunk,
    LogGap,
    Observation,
    OutputFile,
    Run,
    TaskOutput,
    Workload,
    WorkloadInput,
)
from subgrpc.v1.types_pb2 import LogStream


class TaskKey(NamedTuple):
    """One task of a run."""

    role: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls here

    def __str__(self) -> str:
        return f"{self.role}-{self.index}"


@dataclass(frozen=True, slots=True)
class Synced:
    """In `Driver.watch`: every run that was there when the watch (re)started has been sent."""


@dataclass(frozen=True, slots=True)
class Gone:
    """In `Driver.watch`: the backend itself says that this run no longer exists."""

    run: Run


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """What a driver is made from.

    Attributes:
        name: the cluster's name, such as `local` or `gpu-east`.
        data_dir: a folder that is the driver's alone on the server's host; made by the caller.
        options: the operator's options for this cluster.
    """

    name: str
    data_dir: str
    options: Mapping[str, object]


class Driver(ABC):
    """A backend that runs workloads.

    Errors that every method may raise: `Unavailable` while the backend cannot be reached (never
    `NotFound` then), and `SubgrpcError` for anything else that it refuses.
    """

    name: ClassVar[str]
    """The driver's name, as clusters' configuration and `driver_options` use it."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: ClusterConfig) -> Driver:
        """Makes a driver from a cluster's configuration; touches no backend yet.

        Raises:
            InvalidArgument: an option is unknown or wrong; field paths start at the options.
        """

    @classmethod
    def home(cls, config: ClusterConfig) -> str:
        """Where the runs of a cluster live, if not every server can reach them; empty: they can.

        Of several servers that lead the same cluster in turn, only those with the same home take
        each other's place: another would find none of the runs, and think them lost.
        """
        return ""

    async def start(self) -> None:  # noqa: B027 - optional for drivers that hold nothing open
        """Opens what the driver needs. Called once, before any other asynchronous method."""

    async def close(self) -> None:  # noqa: B027 - as start
        """Gives back what `start` opened. Workloads go on."""

    @abstractmethod
    async def describe(self) -> DriverDescription:
        """Says what the backend is, can do, has room for, and has placed now."""

    @abstractmethod
    async def validate(self, workload: Workload) -> None:
        """Checks a workload without touching the backend.

        Raises:
            InvalidSpec: the backend can never run it; every violation with its field path.
        """

    @abstractmethod
    async def prepare(self, workload: Workload) -> bytes:
        """Returns the handle that will identify the run; the caller persists it before `submit`.

        Touches nothing that would have to be removed again.
        """

    @abstractmethod
    async def submit(self, workload: Workload, run: Run, secrets: Mapping[str, bytes]) -> None:
        """Starts the run, or adopts it where it was submitted before (same run key).

        Returns once the backend has taken it; a run that has to wait for room is observed as
        QUEUED with a reason. `secrets` are values by the keys of `WorkloadGroup.secret_env`; they
        are never written where a reader of the backend's objects could see them.

        Raises:
            AlreadyExists: the run key is taken by a different workload.
            InvalidSpec: as `validate`.
        """

    @abstractmethod
    async def get(self, run: Run) -> Observation:
        """Returns how a run stands: every task that the backend knows.

        Raises:
            NotFound: the backend itself says that there is no such run.
        """

    @abstractmethod
    def watch(self, control_plane_id: str) -> AsyncIterator[Observation | Synced | Gone]:
        """Yields every run of a control plane, `Synced`, then each change.

        After an outage it starts again from the beginning, up to `Synced`; it raises
        `Unavailable` only if it gives up, and the caller then calls it again.
        """

    @abstractmethod
    def logs(
        self, run: Run, task: TaskKey, stream: LogStream.ValueType, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk | LogGap]:
        """Yields one stream of one task from a byte offset, in order, chunks of at most 64 KiB.

        With `follow` it ends once the task has ended and every byte was sent; without, at what is
        there now. A lost range is a `LogGap`.

        Raises:
            NotFound: there is no such run or task.
        """

    @abstractmethod
    async def stop(self, run: Run, tasks: Sequence[TaskKey] = (), *, grace: timedelta) -> None:
        """Asks tasks (none given: all) to end: SIGTERM, `grace`, SIGKILL, the whole process tree.

        Returns at once; the end is observed. A task that has not started never will. Of a run
        that is unknown or over nothing happens.
        """

    @abstractmethod
    async def delete(self, run: Run) -> None:
        """Removes everything of a run from the backend, its logs too; stops it if it still runs.

        Of a run that is gone nothing happens.
        """


class OutputKey(NamedTuple):
    """What was taken of an output of a task, once."""

    task: TaskKey
    output: str
    sequence: int


class SupportsOutputs(ABC):
    """What a driver can do, too, that takes the files which `Workload.outputs` name.

    They are taken when nothing of a task runs any more, before its end is observed. What was taken
    never changes, and stays until it is released or the run is deleted. A task that succeeded
    without a required output is observed as FAILED with reason `OutputMissing`.

    Every method may raise `Unavailable` as those of `Driver` do, and `NotFound` for a run, a task
    or an output that is unknown.
    """

    @abstractmethod
    async def outputs(self, run: Run, task: TaskKey) -> Sequence[TaskOutput]:
        """Returns what was taken and not yet released, by name and sequence.

        Of a task that has ended it is all that there will be.
        """

    @abstractmethod
    def output_files(self, run: Run, key: OutputKey) -> AsyncIterator[Sequence[OutputFile]]:
        """Yields the files of what was taken, by path (byte order), in batches of at most 1,000."""

    @abstractmethod
    def read_output(
        self, run: Run, key: OutputKey, paths: Sequence[str], offset: int = 0
    ) -> AsyncIterator[FilePiece]:
        """Yields the content of files, one after the other, in pieces of at most 1 MiB.

        Args:
            run: the run.
            key: what was taken.
            paths: of the files, as `output_files` names them.
            offset: where in the first file to start, in bytes; the others are read whole.
        """

    @abstractmethod
    async def release_output(self, run: Run, key: OutputKey) -> None:
        """Says that what was taken is stored elsewhere: the backend need not keep it any more.

        What is unknown is released already.
        """


class InputContent(Protocol):
    """The files of an input, as they are given to a driver."""

    def files(self) -> AsyncIterator[Sequence[InputFile]]:
        """The files, by path (byte order), in batches of at most 1,000."""

    def read(self, files: Sequence[InputFile]) -> AsyncIterator[FilePiece]:
        """The content of some of them, in pieces of at most 1 MiB, which come in any order."""


class SupportsInputs(ABC):
    """What a driver can do, too, that gives tasks the files which `Workload.inputs` name.

    The caller gives it the files of each input before `submit`, which raises `Unavailable`
    INPUT_MISSING for what is not there: a backend keeps files for later runs, and may forget those
    that no run has. Tasks find them in `$SUBGRPC_INPUT_DIR/NAME`; what a task does to them is not
    what a later run finds.

    Every method may raise `Unavailable` as those of `Driver` do.
    """

    @abstractmethod
    async def has_input(self, wanted: WorkloadInput) -> bool:
        """Whether the backend has all files of an input."""

    @abstractmethod
    async def put_input(self, wanted: WorkloadInput, content: InputContent) -> None:
        """Takes the files of an input; returns when the backend has them. What it has is success.

        What fails, or is cancelled, leaves nothing that a run could find.

        Raises:
            DataLoss: INPUT_DAMAGED, the content is not what its digests say.
        """
