"""A metastore in a folder of its own, and experiments to put into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from subgrpc import names
from subgrpc.metastore import Metastore, Transaction
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Metastore]:
    opened = await Metastore.open(tmp_path / "data")
    yield opened
    await opened.close()


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
