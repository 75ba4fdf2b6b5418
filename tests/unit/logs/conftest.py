from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import pytest_asyncio

from subgrpc.journal import JournalStore, JournalWriter
from subgrpc.metastore import AttemptRow, Metastore, Transaction
from subgrpc.names import new_uid
from subgrpc.services.logs import Logs
from subgrpc.tokens import TokenCodec
from subgrpc.v1.experiment_service_pb2 import (
    Experiment,
    ExperimentState,
    StreamLogsRequest,
    StreamLogsResponse,
)

NAME = "teams/default/experiments/e"


def state(name: str) -> ExperimentState.ValueType:
    return ExperimentState.Value("EXPERIMENT_STATE_" + name)


@dataclass
class World:
    """A control plane of which a test plays the engine."""

    metastore: Metastore
    journals: JournalStore
    logs: Logs
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    uid: str = ""

    async def create(self, *roles: str, experiment_id: str = "e") -> str:
        """A QUEUED experiment, one task for each role."""
        experiment = Experiment(
            name=f"teams/default/experiments/{experiment_id}", uid=new_uid(), state=state("QUEUED")
        )
        experiment.create_time.GetCurrentTime()
        for role in roles or ("main",):
            experiment.spec.task_groups.add(role=role)
        await self.metastore.write(lambda tx: tx.insert_experiment(experiment))
        self.uid = experiment.uid
        return experiment.uid

    async def begin(self) -> JournalWriter:
        """Begins the next attempt; returns the journal that its output goes to."""

        def mutate(tx: Transaction) -> int:
            experiment = tx.experiment(self.uid)
            assert experiment is not None
            experiment.attempt += 1
            experiment.state = state("RUNNING")
            tx.save_experiment(experiment)
            row = AttemptRow(self.uid, experiment.attempt, "local", b"", tx.now)
            tx.insert_attempt(row)
            return experiment.attempt

        return self.journals.writer(self.uid, await self.metastore.write(mutate))

    async def become(self, name: str) -> None:
        def mutate(tx: Transaction) -> None:
            experiment = tx.experiment(self.uid)
            assert experiment is not None
            experiment.state = state(name)
            tx.save_experiment(experiment)

        await self.metastore.write(mutate)

    def request(self, **fields: object) -> StreamLogsRequest:
        return StreamLogsRequest(**({"name": NAME, "format": "LOG_FORMAT_BYTES"} | fields))  # type: ignore[arg-type]

    async def frames(self, **fields: object) -> AsyncIterator[StreamLogsResponse]:
        async with aclosing(self.logs.stream(self.request(**fields), self.draining)) as frames:
            async for frame in frames:
                yield StreamLogsResponse.FromString(frame)

    async def read(self, **fields: object) -> list[StreamLogsResponse]:
        return [frame async for frame in self.frames(**fields)]


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    metastore = await Metastore.open(tmp_path)
    journals = JournalStore(tmp_path / "journals")
    identity = metastore.identity
    logs = Logs(metastore, journals, TokenCodec(identity.token_key, identity.history_id))
    yield World(metastore, journals, logs)
    await metastore.close()
