"""What the steps of reconciliation share: a cluster's parts, and what is remembered of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from subgrpc.driver import Driver, DriverDescription, Observation, Run, TaskKey, Workload
from subgrpc.engine import lifecycle
from subgrpc.engine.collector import LogCollector, RunKey, run_key
from subgrpc.engine.fetching import InputFetcher
from subgrpc.engine.keeper import OutputKeeper
from subgrpc.engine.leadership import Leadership
from subgrpc.engine.waits import Waits
from subgrpc.engine.workqueue import WorkQueue
from subgrpc.journal import JournalStore
from subgrpc.metastore import AttemptRow, Fence, Metastore, Transaction
from subgrpc.secrets import FileSecrets, parse_reference
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment
from subgrpc.v1.types_pb2 import TaskStatus
from subgrpc.workloads import build_workload, secret_references


@dataclass(slots=True)
class Memory:
    """What is remembered of runs between two steps; a restart may forget all of it.

    Attributes:
        observed: the latest observation, by experiment uid.
        submitted: runs that this process has submitted.
        missed: when (loop time) the backend first said that it does not know a run, if it has
            not shown it since.
        stop_asked: when (loop time) a stop of the run is to be asked for again, by run and by
            whether it was of all tasks.
        waits: how long experiments have to wait still, or may.
    """

    observed: dict[str, Observation] = field(default_factory=dict)
    submitted: set[RunKey] = field(default_factory=set)
    missed: dict[RunKey, float] = field(default_factory=dict)
    stop_asked: dict[tuple[RunKey, bool], float] = field(default_factory=dict)
    waits: Waits = field(default_factory=Waits)

    def forget_run(self, run: Run) -> None:
        """Forgets a run that is settled."""
        self.submitted.discard(run_key(run))
        self.missed.pop(run_key(run), None)
        for every in (False, True):
            self.stop_asked.pop((run_key(run), every), None)
        observation = self.observed.get(run.experiment_uid)
        if observation is not None and observation.run.attempt == run.attempt:
            del self.observed[run.experiment_uid]


@dataclass(slots=True)
class Context:
    """One cluster, as its leader sees it.

    Attributes:
        server: the id of the server that leads it.
    """

    store: Metastore
    driver: Driver
    description: DriverDescription
    journals: JournalStore
    secrets: FileSecrets
    queue: WorkQueue
    fence: Fence
    collector: LogCollector
    outputs: OutputKeeper
    inputs: InputFetcher
    leadership: Leadership
    server: str
    memory: Memory = field(default_factory=Memory)

    def backend(self) -> Driver:
        """The driver, to be commanded now.

        Raises:
            Aborted: LEASE_LOST, this server may lead no more.
        """
        self.leadership.check()
        return self.driver

    def run(self, row: AttemptRow) -> Run:
        """The driver's name for an attempt."""
        return Run(
            control_plane_id=self.store.identity.control_plane_id,
            experiment_uid=row.experiment_uid,
            attempt=row.number,
            handle=row.handle,
        )

    def workload(self, experiment: Experiment, number: int) -> Workload:
        """What the driver gets for attempt `number`."""
        return build_workload(
            experiment,
            control_plane_id=self.store.identity.control_plane_id,
            attempt=number,
            driver=self.driver.name,
            default_request=self.description.default_request,
        )

    def forget(self, uid: str) -> None:
        """Forgets an experiment with which nothing is left to do."""
        self.memory.observed.pop(uid, None)
        self.memory.waits.forget(uid)
        self.queue.cancel(uid)

    def read_secrets(self, workload: Workload) -> Mapping[str, bytes]:
        """The values of a workload's secrets, by reference.

        Raises:
            NotFound: one of them is not there any more.
            FailedPrecondition: one of them is too large.
        """
        return {
            reference: self.secrets.read(*parse_reference(reference, ""))
            for reference in secret_references(workload)
        }


def unwanted(experiment: Experiment, row: AttemptRow) -> bool:
    """Whether the whole attempt is to be stopped."""
    return bool(row.stopping) or experiment.state in (
        api.EXPERIMENT_STATE_CANCELLING,
        api.EXPERIMENT_STATE_DELETING,
    )


def store_step(tx: Transaction, row: AttemptRow, step: lifecycle.Step) -> None:
    """Stores everything that a step changed."""
    if step.tasks:
        tx.save_tasks(row.experiment_uid, row.number, step.tasks)
    tx.save_attempt(row)
    store_experiment(tx, step)


def store_experiment(tx: Transaction, step: lifecycle.Step) -> None:
    """Stores the experiment of a step and its events."""
    for event in step.events:
        tx.add_event(step.experiment.uid, event)
    tx.save_experiment(step.experiment)


def key_of(task: TaskStatus) -> TaskKey:
    """The key of a task."""
    return TaskKey(task.role, task.index)


def timestamp(micros: int) -> Timestamp:
    """A Timestamp from microseconds since the epoch."""
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def micros(time: Timestamp) -> int:
    """Microseconds since the epoch from a Timestamp."""
    return time.seconds * 1_000_000 + time.nanos // 1000
