"""Fills a metastore with experiments that have ended, fast: for benchmarks of reads only.

    python -m benchmarks.fill DATA_DIR COUNT

The rows are the ones that `Transaction.insert_experiment` makes, without their changes and events.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from subgrpc import names
from subgrpc.metastore import Metastore
from subgrpc.metastore.sqlite import DATABASE_FILE, DIALECT, connect
from subgrpc.metastore.statements import Statements
from subgrpc.metastore.tables import table
from subgrpc.v1 import experiment_service_pb2 as api

CREATED = 1_700_000_000_000_000
"""When the first was created, µs; each one a second after the one before."""


def fill(data_dir: Path, count: int) -> None:
    """Makes the metastore and its rows `teams/default/experiments/row-NNNNNN`."""
    asyncio.run(_make(data_dir))
    statements = Statements(DIALECT)
    connection = connect(data_dir / DATABASE_FILE)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("BEGIN")
    connection.execute(statements.next_revision).fetchall()
    connection.executemany(statements.insert_experiment, _rows(count))
    connection.execute("COMMIT")
    connection.close()


async def _make(data_dir: Path) -> None:
    store = await Metastore.open(data_dir)
    await store.close()


def _rows(count: int) -> Iterator[tuple[Any, ...]]:
    experiment = api.Experiment(
        creator="anonymous", cluster="clusters/fake", state=api.EXPERIMENT_STATE_SUCCEEDED, etag="1"
    )
    experiment.spec.task_groups.add(args=["python", "train.py", "--epochs", "10"])
    columns = table("experiment").columns
    for number in range(count):
        created = CREATED + number * 1_000_000
        uid, identifier = names.new_uid(), f"row-{number:06d}"
        experiment.uid, experiment.name = uid, f"teams/default/experiments/{identifier}"
        for stamp in (experiment.create_time, experiment.update_time, experiment.end_time):
            stamp.seconds = created // 1_000_000
        row = {
            "uid": uid,
            "team": "default",
            "experiment_id": identifier,
            "state": experiment.state,
            "reason": "",
            "display_name": "",
            "cluster": experiment.cluster,
            "creator": experiment.creator,
            "create_time": created,
            "update_time": created,
            "end_time": created,
            "revision": 1,
            "not_before": 0,
            "active": 0,
            "body": experiment.SerializeToString(deterministic=True),
        }
        yield tuple(row[column.name] for column in columns)


if __name__ == "__main__":
    fill(Path(sys.argv[1]), int(sys.argv[2]))
