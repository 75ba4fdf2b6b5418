"""Blobs: which are there, where they are, and what keeps them.

A store keeps objects; an object holds one blob or many. It is *reserved* before it is put into
the store and *published* once it is there. Artifacts *use* objects; one that nobody has used or
touched for a while is *condemned*: from then on nobody can come to use it, and its blobs count as
missing, so that it can be *removed* later without asking anybody. Each step is one mutation for
`Metastore.write_ordered`: on PostgreSQL, too, no two of them happen at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from subgrpc.artifacts.blobs import object_key
from subgrpc.errors import Aborted
from subgrpc.metastore.blob_statements import MANY, BlobStatements, ManyKeys
from subgrpc.metastore.database import ReadDatabase, Row
from subgrpc.metastore.engine_transaction import EngineTransaction

BATCH: Final = 500
"""Objects that one step of the collector concerns."""


class BlobPlace(NamedTuple):
    """Where a blob is.

    Attributes:
        digest: the blob's SHA-256.
        object_id: the object that it is in.
        key: of that object in the store.
        start: where in the object it begins.
        size: in bytes.
    """

    digest: bytes
    object_id: str
    key: str
    start: int
    size: int


class Condemned(NamedTuple):
    """An object that may be removed: from the store first, then from the metastore.

    Attributes:
        id: of the object.
        key: in the store.
        size: in bytes.
    """

    id: str
    key: str
    size: int


class Garbage(NamedTuple):
    """What there is to collect.

    Attributes:
        unused: objects that can be condemned.
        condemned: objects that can be removed.
        condemned_bytes: their bytes.
    """

    unused: int
    condemned: int
    condemned_bytes: int


class Sealed(NamedTuple):
    """A blob of an object that is about to be published.

    Attributes:
        digest: its SHA-256.
        start: where in the object it begins.
        size: in bytes.
    """

    digest: bytes
    start: int
    size: int


async def read_places(
    reader: ReadDatabase, statements: BlobStatements, digests: Collection[bytes]
) -> dict[bytes, BlobPlace]:
    """Where blobs are: see `Metastore.blobs`."""
    found: dict[bytes, BlobPlace] = {}
    for sql, keys in _portions(statements.places, digests):
        found.update(_places(await reader.all(sql, keys)))
    return found


async def read_places_of(
    reader: ReadDatabase, statements: BlobStatements, artifact_uid: str, digests: Collection[bytes]
) -> dict[bytes, BlobPlace]:
    """Where blobs of an artifact are: see `Metastore.blobs_of`."""
    found: dict[bytes, BlobPlace] = {}
    for sql, keys in _portions(statements.places_of, digests):
        found.update(_places(await reader.all(sql, (artifact_uid, *keys))))
    return found


def places(tx: EngineTransaction, digests: Collection[bytes]) -> dict[bytes, BlobPlace]:
    """Where blobs are, by digest; those that are not there are left out."""
    found: dict[bytes, BlobPlace] = {}
    for sql, keys in _portions(tx.statements.blobs.places, digests):
        found.update(_places(tx.query(sql, keys)))
    return found


def touch(tx: EngineTransaction, objects: Collection[str], before: int) -> None:
    """Objects are wanted now; nothing is written for those that were so since `before` (µs)."""
    for sql, keys in _portions(tx.statements.blobs.touch, objects):
        tx.run(sql, (tx.now, before, *keys))


def reserve(tx: EngineTransaction, object_id: str, sha256: bytes, size: int) -> None:
    """An object is about to be put into the store."""
    tx.run(tx.statements.blobs.reserve, (object_id, sha256, size, 0, 0, tx.now, tx.now, 0))


def publish(tx: EngineTransaction, object_id: str, blobs: Iterable[Sealed]) -> None:
    """An object is in the store: its blobs are there, unless they were already elsewhere.

    Raises:
        Aborted: OBJECT_CONDEMNED, it took so long that it may be removed from the store by now.
    """
    statements = tx.statements.blobs
    if not tx.returning(statements.publish, (tx.now, object_id)):
        text = f"the object {object_id} was given up before it was stored: send its blobs again"
        raise Aborted(text, reason="OBJECT_CONDEMNED")
    rows = [(each.digest, object_id, each.start, each.size) for each in blobs]
    for sql, keys in _portions(statements.delete_stale, [row[0] for row in rows]):
        tx.run(sql, keys)
    tx.run_many(statements.insert_blob, rows)


def use(tx: EngineTransaction, artifact_uid: str, objects: Collection[str]) -> None:
    """An artifact needs objects: they stay until `let_go`. A repeat changes nothing.

    Raises:
        Aborted: OBJECT_CONDEMNED, one of them is there no more; the caller lets this pass through.
    """
    statements = tx.statements.blobs
    old: set[str] = set()
    for sql, keys in _portions(statements.used_of, objects):
        old.update(row[0] for row in tx.query(sql, (artifact_uid, *keys)))
    new = set(objects) - old
    taken: set[str] = set()
    for sql, keys in _portions(statements.take, new):
        taken.update(row[0] for row in tx.returning(sql, keys))
    tx.run_many(statements.use, [(artifact_uid, each) for each in sorted(taken)])
    if len(taken) != len(new):
        text = "what was there a moment ago is being removed: upload the missing blobs again"
        raise Aborted(text, reason="OBJECT_CONDEMNED")


def let_go(tx: EngineTransaction, artifact_uid: str) -> None:
    """An artifact needs nothing any more; what it alone needed can be condemned."""
    statements = tx.statements.blobs
    objects = [row[0] for row in tx.query(statements.used, (artifact_uid,))]
    for sql, keys in _portions(statements.let_go, objects):
        tx.run(sql, (tx.now, *keys))
    if objects:
        tx.run(statements.delete_uses, (artifact_uid,))


def condemn(tx: EngineTransaction, before: int) -> int:
    """Condemns some of the objects that nobody needs, and nobody wanted since `before` (µs).

    Returns:
        How many; at most `BATCH`, so that others can write in between.
    """
    return len(tx.returning(tx.statements.blobs.condemn, (tx.now, before, BATCH)))


def condemned(tx: EngineTransaction, before: int) -> list[Condemned]:
    """Some of the objects that were condemned before `before` (µs), at most `BATCH`."""
    rows = tx.query(tx.statements.blobs.condemned, (before, BATCH))
    return [Condemned(name, object_key(sha256, name), size) for name, sha256, size in rows]


def garbage(tx: EngineTransaction, before: int) -> Garbage:
    """What can be condemned and removed that was used or condemned before `before` (µs)."""
    (unused,) = tx.query(tx.statements.blobs.count_unused, (before,))[0]
    count, size = tx.query(tx.statements.blobs.count_condemned, (before,))[0]
    return Garbage(unused, count, size)


def remove(tx: EngineTransaction, objects: Iterable[str]) -> None:
    """Forgets condemned objects, which are gone from the store, with their blobs."""
    keys = [(each,) for each in objects]
    tx.run_many(tx.statements.blobs.delete_blobs, keys)
    tx.run_many(tx.statements.blobs.delete_object, keys)


def known(tx: EngineTransaction, objects: Collection[str]) -> set[str]:
    """Which of some objects the metastore knows, in whatever state."""
    found: set[str] = set()
    for sql, keys in _portions(tx.statements.blobs.known, objects):
        found.update(row[0] for row in tx.query(sql, keys))
    return found


def _places(rows: Iterable[Row]) -> Iterator[tuple[bytes, BlobPlace]]:
    for digest, name, sha256, start, size in rows:
        yield digest, BlobPlace(digest, name, object_key(sha256, name), start, size)


def _portions(statement: ManyKeys, keys: Collection[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    """A statement's forms, with all keys between them; the last portion is filled up."""
    rest = sorted(set(keys))
    for begin in range(0, len(rest), MANY):
        portion = rest[begin : begin + MANY]
        if len(portion) == 1:
            yield statement.one, portion
        else:
            yield statement.many, portion + portion[-1:] * (MANY - len(portion))
