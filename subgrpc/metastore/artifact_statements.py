"""The fixed statements about artifacts: see `statements`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, literal_column, select, text, update
from sqlalchemy import bindparam as at
from sqlalchemy.engine import Dialect

from subgrpc.metastore.compiling import compiled
from subgrpc.metastore.tables import table

_artifact, _files = table("artifact"), table("artifact_files")
_reference = table("artifact_reference")
PARTS = ("artifact_label", "artifact_files")
"""Tables whose rows belong to an artifact, and go with it."""

# SQLAlchemy would bind the 0 that SQLite's grammar wants after a LIMIT.
_ZERO: ColumnElement[int] = literal_column("0")
_ONE: ColumnElement[int] = literal_column("1")


class ArtifactStatements:
    """They, as SQL of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._artifacts()
        self._file_lists()
        self._references()

    def _sql(self, statement: Any, *parameters: str) -> str:
        return compiled(statement, self._dialect, parameters)

    def _insert(self, name: str) -> str:
        columns = tuple(column.name for column in table(name).columns)
        return self._sql(insert(table(name)), *columns)

    def _artifacts(self) -> None:
        it = _artifact.c
        stored = select(it.body, it.tail)
        self.stored = self._sql(stored.where(it.uid == at("_uid")), "_uid")
        self.by_name = self._sql(
            stored.where(it.team == at("team"), it.artifact_id == at("id")), "team", "id"
        )
        self.insert = self._insert("artifact")
        written = ("state", "display_name", "digest", "update_time", "tail", "body")
        self.update = self._sql(
            update(_artifact)
            .ordered_values(*((it[each], at(f"new_{each}")) for each in written))
            .where(it.uid == at("_uid")),
            *(f"new_{each}" for each in written),
            "_uid",
        )
        self.delete = self._sql(delete(_artifact).where(it.uid == at("_uid")), "_uid")
        self.delete_parts = tuple(
            self._sql(delete(table(part)).where(table(part).c.artifact_uid == at("uid")), "uid")
            for part in PARTS
        )
        self.idle = self._sql(
            select(it.body)
            .where(text("state = 1"), it.update_time < at("before"))
            .order_by(it.update_time)
            .limit(at("limit"))
            .offset(_ZERO),
            *("before", "limit"),
        )
        self.insert_label = self._insert("artifact_label")
        label = table("artifact_label")
        self.delete_labels = self._sql(
            delete(label).where(label.c.artifact_uid == at("uid")), "uid"
        )

    def _file_lists(self) -> None:
        it = _files.c
        of_uid = it.artifact_uid == at("uid")
        batch = select(it.number, it.first_path, it.file_count, it.body)
        assignments = "first_path = excluded.first_path, file_count = excluded.file_count"
        self.put_files = (
            f"{self._insert('artifact_files')} ON CONFLICT (artifact_uid, number) "
            f"DO UPDATE SET {assignments}, body = excluded.body"
        )
        self.files = self._sql(batch.where(of_uid, it.number == at("number")), "uid", "number")
        self.last_files = self._sql(
            batch.where(of_uid).order_by(it.number.desc()).limit(_ONE).offset(_ZERO), "uid"
        )
        self.file_counts = self._sql(
            select(it.number, it.file_count).where(of_uid).order_by(it.number), "uid"
        )
        self.batch_of_path = self._sql(
            select(func.max(it.number)).where(of_uid, it.first_path <= at("path")), "uid", "path"
        )

    def _references(self) -> None:
        reference = _reference.c
        self.refer = f"{self._insert('artifact_reference')} ON CONFLICT DO NOTHING"
        self.release = self._sql(
            delete(_reference).where(reference.referrer == at("referrer")), "referrer"
        )
        self.referrers = self._sql(
            select(reference.referrer)
            .where(reference.artifact_uid == at("uid"))
            .order_by(reference.referrer)
            .limit(at("limit"))
            .offset(_ZERO),
            *("uid", "limit"),
        )
