"""What a server's data folder has before the server starts."""

from __future__ import annotations

from typing import Any

from subgrpc import names
from subgrpc.metastore import Metastore, Transaction, artifacts
from subgrpc.v1.artifact_service_pb2 import (
    ARTIFACT_STATE_OPEN,
    ARTIFACT_STATE_READY,
    Artifact,
    ArtifactSource,
)

TEAM = "teams/default"


def artifact(name: str, *, ready: bool = True, **source: Any) -> Artifact:
    """An artifact without files: of an output of experiment `e`, if `source` says which."""
    of = {"experiment": f"{TEAM}/experiments/e", "experiment_uid": "u"}
    return Artifact(
        name=f"{TEAM}/artifacts/{name}",
        uid=names.new_uid(),
        state=ARTIFACT_STATE_READY if ready else ARTIFACT_STATE_OPEN,
        digest="ab" * 32,
        size_bytes=123,
        source=ArtifactSource(**of, **source) if source else None,
    )


async def seed(running: Any, *stored: Artifact) -> None:
    """Puts artifacts into the data folder of a server that runs later."""
    database = running.databases.of(running.data_dir)
    store = await Metastore.open(running.data_dir, database=database)

    def insert(tx: Transaction) -> None:
        for each in stored:
            new = Artifact()
            new.CopyFrom(each)
            artifacts.insert(tx, new)

    await store.write_ordered(insert)
    await store.close()
