"""The metastore: what is wanted, what is, and every change of it, durable and in one order.

`Metastore.open` gives all of it; a mutation gets a `Transaction`. What the outside may rely on is
re-exported here. Serialised protobuf messages go in and out, times are µs since the epoch.

What callers should know:

- A mutation that writes nothing (a save of what is stored already included) uses no revision and
  makes no change; `Transaction.revision` is then given to the next one.
- A mutation must let AlreadyExists of an insert pass through: what it did is undone as a whole.
- Cluster names are taken with or without `clusters/` and kept with it, in attempts too.
- `Metastore.snapshot` gives its revision and items to be iterated, by kind and uid, with
  `async for`.
- `Metastore.changes_after` raises OutOfRange by itself where changes are no longer kept.
"""

from __future__ import annotations

from subgrpc.metastore.artifact_reads import StoredArtifact
from subgrpc.metastore.blobs import BlobPlace
from subgrpc.metastore.feed import ChangeFeed
from subgrpc.metastore.kinds import ARTIFACTS, EXPERIMENTS, MODEL_VERSIONS, MODELS, Kind
from subgrpc.metastore.records import (
    AttemptRow,
    Change,
    Fence,
    FileBatch,
    Identity,
    Item,
    Key,
    Lease,
    ListPage,
    RememberedRequest,
    ServerRecord,
    Snapshot,
    SnapshotItems,
)
from subgrpc.metastore.store import Metastore
from subgrpc.metastore.transaction import Transaction

__all__ = [
    "ARTIFACTS",
    "EXPERIMENTS",
    "MODELS",
    "MODEL_VERSIONS",
    "AttemptRow",
    "BlobPlace",
    "Change",
    "ChangeFeed",
    "Fence",
    "FileBatch",
    "Identity",
    "Item",
    "Key",
    "Kind",
    "Lease",
    "ListPage",
    "Metastore",
    "RememberedRequest",
    "ServerRecord",
    "Snapshot",
    "SnapshotItems",
    "StoredArtifact",
    "Transaction",
]
