"""A metastore in a folder of its own, and experiments to put into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from subgrpc import names
from subgrpc.metastore import Metastore, Transaction
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment

Open = Callable[..., Awaitable[Metastore]]


@pytest.fixture
def open_store(databases: Any) -> Open:
    """Opens the metastore of a folder, in the database that the tests are run with."""

    async def open_store(folder: Path, **options: Any) -> Metastore:
        return await Metastore.open(folder, database=databases.of(folder), **options)

    return open_store


@pytest.fixture
async def store(tmp_path: Path, open_store: Open) -> AsyncIterator[Metastore]:
    opened = await open_store(tmp_path / "data")
    yield opened
    await opened.close()


async def steps(store: Metastore, sql: str, parameters: Sequence[Any]) -> str:
    """How the database would run a query on a large table, as it says it."""
    if not store.shared:
        rows = await store._reader.all(f"EXPLAIN QUERY PLAN {sql}", parameters)
        return "\n".join(row[-1] for row in rows)
    async with store._reader.consistent() as reader:
        for costly in ("seqscan", "sort", "bitmapscan"):
            await reader.all(f"SET LOCAL enable_{costly} = off")
        rows = await reader.all(f"EXPLAIN (COSTS off) {sql}", parameters)
    return "\n".join(row[0] for row in rows)


def experiment(
    name: str = "",
    *,
    team: str = "red",
    state: api.ExperimentState.ValueType = api.EXPERIMENT_STATE_QUEUED,
    cluster: str = "clusters/local",
    **labels: str,
) -> Experiment:
    """An experiment that is in no store yet."""
    uid = names.new_uid()
    return Experiment(
        name=f"teams/{team}/experiments/{name or 'e-' + uid}",
        uid=uid,
        state=state,
        cluster=cluster,
        creator="ann",
        labels=labels,
    )


def inserting(new: Experiment) -> Callable[[Transaction], None]:
    """The mutation that stores an experiment."""
    return lambda tx: tx.insert_experiment(new)


async def insert(store: Metastore, *new: Experiment) -> None:
    """Stores experiments, a write each."""
    for each in new:
        await store.write(inserting(each))


async def set_state(
    store: Metastore, uid: str, state: api.ExperimentState.ValueType, message: str = ""
) -> None:
    """Changes an experiment."""

    def mutate(tx: Transaction) -> None:
        found = tx.experiment(uid)
        assert found is not None
        found.state, found.message = state, message
        tx.save_experiment(found)

    await store.write(mutate)
