"""The fixed statements about models: see `statements`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, literal_column, select, text, update
from sqlalchemy import bindparam as at
from sqlalchemy.engine import Dialect

from subgrpc.metastore import model_tables as model_tables  # makes them known
from subgrpc.metastore.compiling import compiled
from subgrpc.metastore.tables import table

_model, _event, _alias = table("model"), table("model_event"), table("model_alias")
_version, _artifact = table("model_version"), table("artifact")

# SQLAlchemy would bind the 0 that SQLite's grammar wants after a LIMIT.
_ZERO: ColumnElement[int] = literal_column("0")
_ONE: ColumnElement[int] = literal_column("1")


class ModelStatements:
    """They, as SQL of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._models()
        self._versions()
        self._aliases()
        self._events()

    def _sql(self, statement: Any, *parameters: str) -> str:
        return compiled(statement, self._dialect, parameters)

    def _insert(self, name: str) -> str:
        columns = tuple(column.name for column in table(name).columns)
        return self._sql(insert(table(name)), *columns)

    def _update(self, name: str, *columns: str) -> str:
        """Takes the columns, then the uid."""
        of = table(name)
        statement = (
            update(of)
            .ordered_values(*((of.c[each], at(f"new_{each}")) for each in columns))
            .where(of.c.uid == at("_uid"))
        )
        return self._sql(statement, *(f"new_{each}" for each in columns), "_uid")

    def _delete(self, name: str, column: str) -> str:
        of = table(name)
        return self._sql(delete(of).where(of.c[column] == at("uid")), "uid")

    def _models(self) -> None:
        it = _model.c
        by_name = (it.team == at("team"), it.model_id == at("model"))
        self.get = self._sql(select(it.body).where(*by_name), "team", "model")
        self.by_uid = self._sql(select(it.body).where(it.uid == at("_uid")), "_uid")
        self.insert = self._insert("model")
        self.update = self._update(
            "model", "display_name", "latest_version", "update_time", "revision", "body"
        )
        self.delete = self._delete("model", "uid")
        self.next_number = self._sql(
            update(_model)
            .values(last_version=it.last_version + _ONE)
            .where(it.uid == at("_uid"))
            .returning(it.last_version),
            "_uid",
        )
        self.insert_tag = self._insert("model_tag")
        self.delete_tags = self._delete("model_tag", "model_uid")

    def _versions(self) -> None:
        it = _version.c
        of_model = (it.team == at("team"), it.model_id == at("model"))
        by_number = (*of_model, it.number == at("number"))
        self.version = self._sql(select(it.body).where(*by_number), "team", "model", "number")
        self.version_by_uid = self._sql(select(it.body).where(it.uid == at("_uid")), "_uid")
        self.latest = self._sql(
            select(it.body).where(*of_model).order_by(it.number.desc()).limit(_ONE).offset(_ZERO),
            *("team", "model"),
        )
        self.latest_number = self._sql(
            select(func.max(it.number)).where(*of_model), "team", "model"
        )
        self.some_versions = self._sql(
            select(it.body).where(*of_model).order_by(it.number).limit(at("limit")).offset(_ZERO),
            *("team", "model", "limit"),
        )
        self.versions_in_stage = self._sql(
            select(it.body).where(*of_model, it.stage == at("stage")).order_by(it.number),
            *("team", "model", "stage"),
        )
        self.insert_version = self._insert("model_version")
        self.update_version = self._update(
            "model_version", "stage", "update_time", "revision", "body"
        )
        self.delete_version = self._delete("model_version", "uid")
        self.insert_version_tag = self._insert("model_version_tag")
        self.delete_version_tags = self._delete("model_version_tag", "version_uid")
        self.insert_metric = self._insert("model_version_metric")
        self.delete_metrics = self._delete("model_version_metric", "version_uid")

    def _aliases(self) -> None:
        it = _alias.c
        key = (it.team == at("team"), it.model_id == at("model"), it.alias == at("alias"))
        names = ("team", "model", "alias")
        self.alias = self._sql(
            select(it.version_uid, it.number, it.sequence, it.time).where(*key), *names
        )
        self.version_by_alias = self._sql(
            select(_version.c.body)
            .select_from(_alias.join(_version, _version.c.uid == it.version_uid))
            .where(*key),
            *names,
        )
        changed = ("version_uid", "number", "sequence", "time", "create_time")
        assignments = ", ".join(f"{each} = excluded.{each}" for each in changed)
        conflict = "ON CONFLICT (team, model_id, alias) DO UPDATE SET"
        self.put_alias = f"{self._insert('model_alias')} {conflict} {assignments}"
        self.delete_alias = self._sql(delete(_alias).where(*key), *names)

    def _events(self) -> None:
        it = _event.c
        of_model = it.model_uid == at("uid")
        self.insert_event = self._insert("model_event")
        self.last_event = self._sql(
            select(it.sequence)
            .where(of_model)
            .order_by(it.sequence.desc())
            .limit(_ONE)
            .offset(_ZERO),
            "uid",
        )
        self.target = self._sql(
            select(it.below, it.body).where(of_model, it.sequence == at("sequence")),
            *("uid", "sequence"),
        )
        self.outputs = self._sql(
            select(_artifact.c.body)
            .where(
                _artifact.c.team == at("team"),
                _artifact.c.experiment == at("experiment"),
                text("state = 2"),
            )
            .order_by(_artifact.c.create_time.desc(), _artifact.c.uid.desc())
            .limit(at("limit"))
            .offset(_ZERO),
            *("team", "experiment", "limit"),
        )
        self.delete_events = self._delete("model_event", "model_uid")
