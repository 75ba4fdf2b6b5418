"""Looks for broken invariants of artifacts and blobs: part of `audit`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from google.protobuf.message import DecodeError
from sqlalchemy import Connection, Row, Table, and_, exists, func, select

from subgrpc.filters import micros
from subgrpc.metastore.audit import Problem
from subgrpc.metastore.logs import user
from subgrpc.metastore.tables import table
from subgrpc.v1.artifact_service_pb2 import (
    ARTIFACT_STATE_OPEN,
    Artifact,
    ArtifactFile,
    ListArtifactFilesResponse,
)

WINDOW: Final = 200
"""Artifacts that are looked at at a time."""
KEYS: Final = 500
"""Blobs that are looked up at a time."""
SHOWN: Final = 20
"""So many files of one artifact without their blobs are named."""

_artifact, _files, _uses = table("artifact"), table("artifact_files"), table("artifact_object")
_object, _blob = table("object"), table("blob")


class ArtifactAudit:
    """One look at the artifacts of a metastore.

    Attributes:
        artifacts: how many there are; filled by `problems`.
    """

    def __init__(self, connection: Connection) -> None:
        """The connection is in a transaction that sees one state of the database."""
        self.artifacts = 0
        self._connection = connection

    def problems(self) -> Iterator[Problem]:
        """Yields everything that is wrong."""
        for name in ("artifact_label", "artifact_files", "artifact_object", "artifact_reference"):
            yield from self._orphans(table(name))
        yield from self._objects()
        yield from self._references()
        after = ""
        while window := self._rows(
            select(_artifact).where(_artifact.c.uid > after).order_by(_artifact.c.uid).limit(WINDOW)
        ):
            for row in window:
                self.artifacts += 1
                yield from self._artifact(row)
            after = window[-1].uid

    def _rows(self, statement: Any) -> Sequence[Row[Any]]:
        return self._connection.execute(statement).all()

    def _orphans(self, part: Table) -> Iterator[Problem]:
        """Rows of artifacts that are not there."""
        missing = ~exists().where(_artifact.c.uid == part.c.artifact_uid)
        found = select(part.c.artifact_uid, func.count()).where(missing)
        logs = self._logs() if part is _uses else ()
        for uid, count in map(tuple, self._rows(found.group_by(part.c.artifact_uid))):
            if uid in logs:
                continue
            text = f"{count} rows belong to an artifact that is not there"
            yield Problem("ORPHAN_ROWS", f"table {part.name}, artifact {uid}", text)

    def _logs(self) -> set[str]:
        """Logs that may use objects as artifacts do."""
        log = table("log").c
        return {
            user(*row) for row in map(tuple, self._rows(select(log.experiment_uid, log.attempt)))
        }

    def _objects(self) -> Iterator[Problem]:
        """What is used is there, is counted right, and was not condemned."""
        count = select(func.count()).where(_uses.c.object_id == _object.c.id).scalar_subquery()
        for row in self._rows(select(_object, count.label("uses")).where(_object.c.users != count)):
            text = f"it says that {row.users} artifacts need it; there are {row.uses}"
            yield Problem("OBJECT", f"object {row.id}", text)
        condemned = and_(_object.c.users > 0, _object.c.condemned_time > 0)
        for row in self._rows(select(_object.c.id).where(condemned)):
            text = "it was given up, though artifacts need it"
            yield Problem("OBJECT", f"object {row.id}", text)
        missing = ~exists().where(_object.c.id == _blob.c.object_id)
        found = select(_blob.c.object_id, func.count()).where(missing).group_by(_blob.c.object_id)
        for uid, blobs in map(tuple, self._rows(found)):
            text = f"{blobs} blobs are in an object that is not there"
            yield Problem("ORPHAN_ROWS", f"table blob, object {uid}", text)

    def _references(self) -> Iterator[Problem]:
        """Only what is complete is needed by anything."""
        reference = table("artifact_reference").c
        found = select(_artifact.c.uid, reference.referrer).where(
            _artifact.c.uid == reference.artifact_uid, _artifact.c.state == ARTIFACT_STATE_OPEN
        )
        for uid, referrer in map(tuple, self._rows(found)):
            yield Problem("REFERENCE", f"artifact {uid}", f"it is OPEN, but {referrer} needs it")

    def _artifact(self, row: Row[Any]) -> Iterator[Problem]:
        where = f"teams/{row.team}/artifacts/{row.artifact_id} ({row.uid})"
        try:
            artifact = Artifact.FromString(row.body)
        except DecodeError as error:
            yield Problem("BODY", where, f"it cannot be read: {error}")
            return
        yield from _columns(where, row, artifact)
        label = table("artifact_label").c
        rows = self._rows(select(label.key, label.value).where(label.artifact_uid == row.uid))
        if dict(map(tuple, rows)) != dict(artifact.labels):
            yield Problem("LABELS", where, "the rows of its labels are not those of the message")
        yield from self._contents(where, artifact)

    def _contents(self, where: str, artifact: Artifact) -> Iterator[Problem]:
        """Its files are those that it says, in order, and their blobs are kept for it."""
        hasher, count, size, last, lost = hashlib.sha256(), 0, 0, "", 0
        number = 0
        of_uid = _files.c.artifact_uid == artifact.uid
        while rows := self._rows(select(_files).where(of_uid, _files.c.number == number)):
            try:
                files = ListArtifactFilesResponse.FromString(rows[0].body).files
            except DecodeError as error:
                yield Problem("BODY", where, f"batch {number} of its files cannot be read: {error}")
                return
            first = files[0].path if files else None
            if (rows[0].first_path, rows[0].file_count) != (first, len(files)):
                text = f"the columns of batch {number} of its files are not those of the files"
                yield Problem("COLUMN", where, text)
            for file in files:
                if file.path <= last:
                    yield Problem("FILES", where, f"{file.path!r} comes after {last!r}")
                last = file.path
                size += file.size_bytes
                hasher.update(_line(file))
            count, number = count + len(files), number + 1
            for path in self._without_blobs(artifact.uid, files):
                if (lost := lost + 1) <= SHOWN:
                    text = f"blobs of {path!r} are gone, or not kept for it"
                    yield Problem("BLOB_MISSING", where, text)
        if lost > SHOWN:
            yield Problem("BLOB_MISSING", where, f"the same of {lost - SHOWN} other files")
        if (count, size) != (artifact.file_count, artifact.size_bytes):
            text = (
                f"it says {artifact.file_count} files, {artifact.size_bytes} bytes; "
                f"there are {count}, {size}"
            )
            yield Problem("FILES", where, text)
        opened = artifact.state == ARTIFACT_STATE_OPEN
        if artifact.digest != ("" if opened else hasher.hexdigest()):
            yield Problem("FILES", where, "its digest is not that of its files")

    def _without_blobs(self, uid: str, files: Sequence[ArtifactFile]) -> Iterator[str]:
        """Paths of files with blobs that no object has which the artifact keeps."""
        wanted = sorted({bytes.fromhex(each.digest) for file in files for each in file.chunks})
        sizes: dict[str, int] = {}
        for begin in range(0, len(wanted), KEYS):
            joined = _blob.join(_object, _object.c.id == _blob.c.object_id).join(
                _uses, _uses.c.object_id == _object.c.id
            )
            found = (
                select(_blob.c.digest, _blob.c.size)
                .select_from(joined)
                .where(
                    _uses.c.artifact_uid == uid,
                    _object.c.ready == 1,
                    _blob.c.digest.in_(wanted[begin : begin + KEYS]),
                )
            )
            sizes.update((row.digest.hex(), row.size) for row in self._rows(found))
        for file in files:
            if any(sizes.get(each.digest) != each.size_bytes for each in file.chunks):
                yield file.path


def _columns(where: str, row: Row[Any], it: Artifact) -> Iterator[Problem]:
    """What lists are ordered and filtered by is what the message says."""
    _, team, _, artifact_id = (*it.name.split("/"), "", "", "", "")[:4]
    wanted = {
        "uid": it.uid,
        "team": team,
        "artifact_id": artifact_id,
        "state": it.state,
        "creator": it.creator,
        "display_name": it.display_name,
        "digest": it.digest,
        "experiment": it.source.experiment,
        "output": it.source.output,
        "create_time": micros(it.create_time),
        "update_time": micros(it.update_time),
    }
    for name, value in wanted.items():
        if getattr(row, name) != value:
            text = f"column {name} is {getattr(row, name)!r}, the message has {value!r}"
            yield Problem("COLUMN", where, text)


def _line(file: ArtifactFile) -> bytes:
    """What the digest of an artifact is made of: see the API."""
    if file.link_target:
        target = hashlib.sha256(file.link_target.encode()).hexdigest()
        return f"{target} 120000 0 {file.path}\0".encode()
    return f"{file.sha256} {file.mode:o} {file.size_bytes} {file.path}\0".encode()
