"""Artifacts: the mutations. What an artifact refers to is kept, and so is one that is referred to.

All of it is for `Metastore.write_ordered`, or `write`: between the look whether something is there
and the reference to it nothing may be removed, on whichever server.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from subgrpc import names
from subgrpc.errors import AlreadyExists, FailedPrecondition, NotFound
from subgrpc.filters import micros
from subgrpc.metastore import blobs
from subgrpc.metastore.engine_transaction import EngineTransaction
from subgrpc.metastore.records import FileBatch
from subgrpc.metastore.times import set_time
from subgrpc.v1.artifact_service_pb2 import ARTIFACT_STATE_READY, Artifact, ArtifactState

SHOWN: Final = 20
"""So many of those who need an artifact are named to who wants to delete it."""


def by_uid(tx: EngineTransaction, uid: str) -> Artifact | None:
    """Returns an artifact, as a message of the caller's own; None: there is none."""
    rows = tx.query(tx.statements.artifacts.stored, (uid,))
    return Artifact.FromString(rows[0][0]) if rows else None


def by_name(tx: EngineTransaction, team: str, artifact_id: str) -> Artifact | None:
    """Returns the artifact of that name, as `by_uid` does."""
    rows = tx.query(tx.statements.artifacts.by_name, (team, artifact_id))
    return Artifact.FromString(rows[0][0]) if rows else None


def insert(tx: EngineTransaction, artifact: Artifact, tail: bytes = b"") -> None:
    """Stores a new artifact; sets its etag, create_time and update_time.

    Args:
        tx: the transaction.
        artifact: the artifact.
        tail: what its owner has to know when more files are added.

    Raises:
        AlreadyExists: ARTIFACT_EXISTS, the team has one of that id; it must pass through.
    """
    name = names.parse_artifact(artifact.name)
    set_time(artifact.create_time, tx.now)
    body = _stamped(tx, artifact)
    row = (
        *(artifact.uid, name.team, name.artifact, artifact.state, artifact.creator),
        *(artifact.display_name, artifact.digest, artifact.source.experiment),
        *(artifact.source.output, tx.now, tx.now, tail, body),
    )
    text, metadata = f"there is an artifact {name} already", {"name": str(name)}
    tx.run(
        tx.statements.artifacts.insert,
        row,
        lambda: AlreadyExists(text, reason="ARTIFACT_EXISTS", metadata=metadata),
    )
    _insert_labels(tx, artifact)


def save(tx: EngineTransaction, artifact: Artifact, tail: bytes = b"") -> None:
    """Stores what has become of an artifact, and its tail; sets its etag and update_time.

    If it equals what is stored nothing is written. Name, uid, creator, source and create_time
    never change.

    Raises:
        NotFound: ARTIFACT_NOT_FOUND.
    """
    statements = tx.statements.artifacts
    rows = tx.query(statements.stored, (artifact.uid,))
    if not rows:
        raise missing(artifact.name)
    before = Artifact.FromString(rows[0][0])
    artifact.etag = before.etag
    artifact.update_time.CopyFrom(before.update_time)
    if artifact == before and tail == rows[0][1]:
        return
    body = _stamped(tx, artifact)
    values = (artifact.state, artifact.display_name, artifact.digest, tx.now, tail, body)
    tx.run(statements.update, (*values, artifact.uid))
    if before.labels != artifact.labels:
        tx.run(statements.delete_labels, (artifact.uid,))
        _insert_labels(tx, artifact)


def delete(tx: EngineTransaction, artifact: Artifact) -> None:
    """Removes an artifact that is there, with all of it.

    Raises:
        FailedPrecondition: ARTIFACT_IN_USE, something refers to it: metadata `referrers`.
    """
    statements, uid = tx.statements.artifacts, artifact.uid
    if found := referrers(tx, uid):
        raise _in_use(artifact.name, found)
    blobs.let_go(tx, uid)
    for sql in (*statements.delete_parts, statements.delete):
        tx.run(sql, (uid,))


def idle(tx: EngineTransaction, before: int, limit: int) -> list[Artifact]:
    """OPEN artifacts that did not change since `before` (µs), some of them: the oldest first."""
    rows = tx.query(tx.statements.artifacts.idle, (before, limit))
    return [Artifact.FromString(body) for (body,) in rows]


def tail_of(tx: EngineTransaction, uid: str) -> bytes:
    """What was stored with an artifact as its `tail`; empty: nothing."""
    rows = tx.query(tx.statements.artifacts.stored, (uid,))
    return rows[0][1] if rows else b""


def last_files(tx: EngineTransaction, uid: str) -> FileBatch | None:
    """The last batch of an artifact's files; None: it has none yet."""
    rows = tx.query(tx.statements.artifacts.last_files, (uid,))
    return FileBatch._make(rows[0]) if rows else None


def put_files(tx: EngineTransaction, uid: str, batches: Iterable[FileBatch]) -> None:
    """Stores batches of files of an artifact, in place of those with the same numbers."""
    tx.run_many(tx.statements.artifacts.put_files, [(uid, *each) for each in batches])


def refer(tx: EngineTransaction, name: str, referrer: str) -> Artifact:
    """Keeps an artifact from being deleted, until `release`; a repeat changes nothing.

    Args:
        tx: the transaction.
        name: of the artifact.
        referrer: the name of what needs it, as people are told it, such as
            `teams/default/models/digits/versions/3`.

    Returns:
        The artifact.

    Raises:
        InvalidArgument: that is no name of an artifact.
        NotFound: ARTIFACT_NOT_FOUND.
        FailedPrecondition: ARTIFACT_NOT_READY.
    """
    artifact = by_name(tx, *names.parse_artifact(name))
    if artifact is None:
        raise missing(name)
    if artifact.state != ARTIFACT_STATE_READY:
        state = ArtifactState.Name(artifact.state).removeprefix("ARTIFACT_STATE_")
        text = f"{name} is {state}: finish it first"
        raise FailedPrecondition(text, reason="ARTIFACT_NOT_READY", metadata={"subject": name})
    tx.run(tx.statements.artifacts.refer, (artifact.uid, referrer))
    return artifact


def referrers(tx: EngineTransaction, uid: str) -> list[str]:
    """What needs an artifact: at most `SHOWN` + 1 names."""
    rows = tx.query(tx.statements.artifacts.referrers, (uid, SHOWN + 1))
    return [referrer for (referrer,) in rows]


def release(tx: EngineTransaction, referrer: str) -> None:
    """Removes all references of a referrer: what it needed may be deleted."""
    tx.run(tx.statements.artifacts.release, (referrer,))


def missing(name: str) -> NotFound:
    """The error that says that there is no such artifact."""
    text = f"there is no artifact {name}"
    return NotFound(text, reason="ARTIFACT_NOT_FOUND", metadata={"name": name})


def _stamped(tx: EngineTransaction, artifact: Artifact) -> bytes:
    # There is no revision to make it of, and an artifact of the same name that was deleted must
    # not have had the same: so it is random.
    artifact.etag = names.new_uid()[-12:]
    set_time(artifact.update_time, tx.now)
    return artifact.SerializeToString(deterministic=True)


def _insert_labels(tx: EngineTransaction, artifact: Artifact) -> None:
    team, created = names.parse_artifact(artifact.name).team, micros(artifact.create_time)
    rows = [(artifact.uid, *label, team, created) for label in artifact.labels.items()]
    tx.run_many(tx.statements.artifacts.insert_label, rows)


def _in_use(name: str, referrers: Sequence[str]) -> FailedPrecondition:
    listed = ", ".join(referrers[:SHOWN]) + (", and others" if len(referrers) > SHOWN else "")
    return FailedPrecondition(
        f"{name} is needed by {listed}: delete that first",
        reason="ARTIFACT_IN_USE",
        metadata={"subject": name, "referrers": listed},
    )
