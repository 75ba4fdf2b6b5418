"""An engine on a real metastore and journal, with the fake driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from subgrpc import names
from subgrpc.config import ClusterSettings
from subgrpc.engine import Engine, EngineSettings
from subgrpc.engine.content import Artifacts
from subgrpc.engine.fetching import ArtifactReader
from subgrpc.journal import JournalStore
from subgrpc.metastore import Metastore, Transaction
from subgrpc.plugins import PluginManager
from subgrpc.secrets import FileSecrets
from subgrpc.testing.fake import FakeBackend
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentEvent
from subgrpc.v1.types_pb2 import TaskState

T = TypeVar("T")


class World:
    """A server without its gRPC side; `restart` is what a crash and a new start are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backend = FakeBackend()
        self.backend.obedient = True
        self.clusters: tuple[str, ...] = ("one",)
        self.artifacts: Artifacts | None = None
        self.inputs: ArtifactReader | None = None
        self.store: Metastore
        self.journals: JournalStore
        self.engine: Engine

    async def start(self) -> None:
        self.store = await Metastore.open(self.folder)
        self.journals = JournalStore(self.folder / "journals")
        plugins = PluginManager()
        plugins.register(self.backend.plugin())
        self.engine = Engine(
            metastore=self.store,
            journals=self.journals,
            plugins=plugins,
            secrets=FileSecrets(self.folder / "secrets"),
            settings=EngineSettings(
                clusters={name: ClusterSettings("fake") for name in self.clusters},
                default_cluster=self.clusters[0],
                data_dir=self.folder / "clusters",
                server=self.store.server_id,
            ),
            artifacts=self.artifacts,
            inputs=self.inputs,
        )
        await self.engine.start()

    async def stop(self) -> None:
        await self.engine.stop()
        await self.store.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def create(self, experiment: Experiment | None = None) -> str:
        """Stores a QUEUED experiment as CreateExperiment does; returns its uid."""
        uid = await self.insert(experiment or Experiment())
        self.engine.wake(uid, "one")
        return uid

    async def insert(self, experiment: Experiment) -> str:
        uid = names.new_uid()
        experiment.name = f"teams/default/experiments/e-{uid[-8:]}"
        experiment.uid = uid
        experiment.cluster = "clusters/one"
        experiment.state = api.EXPERIMENT_STATE_QUEUED
        experiment.create_time.GetCurrentTime()
        if not experiment.spec.task_groups:
            experiment.spec.task_groups.add(role="main", command="true")
        await self.store.write(lambda tx: tx.insert_experiment(experiment))
        return uid

    async def change(self, uid: str, state: api.ExperimentState.ValueType) -> None:
        """Asks for a cancel or a deletion, as the use cases do."""

        def mutate(tx: Transaction) -> None:
            experiment = tx.experiment(uid)
            assert experiment is not None
            experiment.state = state
            tx.save_experiment(experiment)

        await self.store.write(mutate)
        self.engine.wake(uid, "one")

    def get(self, uid: str) -> Experiment | None:
        raw = now(self.store.get_experiment_by_uid(uid))
        return None if raw is None else Experiment.FromString(raw)

    def state(self, uid: str) -> str:
        experiment = self.get(uid)
        if experiment is None:
            return "GONE"
        return api.ExperimentState.Name(experiment.state).removeprefix("EXPERIMENT_STATE_")

    def events(self, uid: str) -> list[ExperimentEvent]:
        page = now(self.store.list_events(uid, after=0, limit=1000))
        return [ExperimentEvent.FromString(raw) for raw in page.items]

    def set(
        self, uid: str, state: str, index: int = 0, *, attempt: int = 1, **more: object
    ) -> None:
        value = TaskState.Value(f"TASK_STATE_{state}")
        self.backend.observe((uid, attempt), "main", index, value, **more)  # type: ignore[arg-type]

    def write(self, uid: str, data: bytes) -> None:
        self.backend.write((uid, 1), "main", 0, data)

    async def submitted(self, uid: str, attempt: int = 1) -> None:
        await until(lambda: (uid, attempt) in self.backend.runs)

    async def reaches(self, uid: str, state: str) -> None:
        await until(lambda: self.state(uid) == state, lambda: f"{self.state(uid)}, not {state}")


def now(read: Coroutine[Any, Any, T]) -> T:
    """What a read of the metastore returns: that of SQLite never waits."""
    try:
        read.send(None)
    except StopIteration as done:
        found: T = done.value
        return found
    raise AssertionError("the read waited")


async def until(
    true: Callable[[], bool], what: Callable[[], str] = lambda: "", seconds: float = 10
) -> None:
    """Waits until something is true."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not true():
        assert asyncio.get_running_loop().time() < deadline, what()
        await asyncio.sleep(0.005)


def retrying(retries: int, backoff_ms: int = 10) -> Experiment:
    """An experiment that is tried again."""
    experiment = Experiment()
    experiment.spec.task_groups.add(role="main", command="x")
    experiment.spec.retry_policy.max_retries = retries
    experiment.spec.retry_policy.initial_backoff.FromMilliseconds(backoff_ms)
    return experiment


def reason(world: World, uid: str) -> str:
    """Why it is in its state."""
    experiment = world.get(uid)
    return experiment.reason if experiment else ""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.start()
    yield made
    await made.stop()
