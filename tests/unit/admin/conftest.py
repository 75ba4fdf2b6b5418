"""A data folder as a server leaves it: experiments that ended, with their logs."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from subgrpc import names
from subgrpc.journal import JournalStore
from subgrpc.metastore import AttemptRow, Metastore, Transaction
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentEvent
from subgrpc.v1.types_pb2 import LogStream, TaskState, TaskStatus

OUTPUT = b"".join(b"line %d\n" % number for number in range(2000))


async def add_experiment(store: Metastore, journals: JournalStore, name: str) -> str:
    """One that ran to its end, as the engine leaves it; returns its uid."""
    uid = names.new_uid()
    made = Experiment(
        name=f"teams/default/experiments/{name}",
        uid=uid,
        cluster="clusters/local",
        state=api.EXPERIMENT_STATE_QUEUED,
        attempt=1,
        labels={"a": "b"},
    )

    def create(tx: Transaction) -> None:
        tx.insert_experiment(made)
        tx.add_event(uid, ExperimentEvent(type="Created", state=made.state))
        tx.insert_attempt(AttemptRow(uid, 1, "local", b"handle", tx.now))

    await store.write(create)

    def end(tx: Transaction) -> None:
        experiment = tx.experiment(uid)
        assert experiment is not None
        experiment.state = api.EXPERIMENT_STATE_SUCCEEDED
        experiment.end_time.CopyFrom(Timestamp(seconds=tx.now // 1_000_000))
        row = AttemptRow(uid, 1, "local", b"handle", tx.now, end_time=tx.now)
        row.logs_complete = row.settled = True
        tx.save_attempt(row)
        done = TaskState.TASK_STATE_SUCCEEDED
        tx.save_tasks(uid, 1, [TaskStatus(role="main", index=0, state=done)])
        tx.add_event(uid, ExperimentEvent(type="StateChanged", state=experiment.state))
        tx.save_experiment(experiment)

    writer = journals.writer(uid, 1)
    writer.append("main-0", LogStream.LOG_STREAM_STDOUT, 0, OUTPUT, time.time_ns() // 1000)
    writer.seal()
    writer.close()
    await store.write(end)
    return uid


async def fill(folder: Path, count: int = 3) -> list[str]:
    store = await Metastore.open(folder)
    journals = JournalStore(folder / "journals")
    uids = [await add_experiment(store, journals, f"e{number}") for number in range(count)]
    await store.close()
    (folder / "secrets" / "default").mkdir(parents=True)
    (folder / "secrets" / "default" / "token").write_bytes(b"hush")
    return uids


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("admin") / "data"
    asyncio.run(fill(made))
    return made


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    """A data folder that no server uses."""
    return Path(shutil.copytree(filled, tmp_path / "data"))
