"""The fixed statements of the metastore: built from its tables, compiled once for one dialect.

They run on the DBAPI cursor, with positional parameters, because SQLAlchemy's execution costs
several times what the statements themselves do (reference/grpc.md of the design). Each attribute
says its parameters in order; an insert takes the table's columns in order.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Delete,
    Select,
    Update,
    delete,
    insert,
    literal_column,
    select,
    text,
    union,
    update,
)
from sqlalchemy import bindparam as at
from sqlalchemy.engine import Dialect

from subgrpc.metastore.artifact_statements import ArtifactStatements
from subgrpc.metastore.blob_statements import BlobStatements
from subgrpc.metastore.compiling import compiled
from subgrpc.metastore.log_statements import LogStatements
from subgrpc.metastore.model_statements import ModelStatements
from subgrpc.metastore.tables import table

_meta, _experiment, _label, _event = (table(n) for n in ("meta", "experiment", "label", "event"))
_attempt, _task, _change = (table(n) for n in ("attempt", "task", "change"))
_request, _lease, _cluster = (table(n) for n in ("request", "lease", "cluster"))
_server = table("server")


# SQLAlchemy would bind the 0 that SQLite's grammar wants after a LIMIT.
_ZERO: ColumnElement[int] = literal_column("0")
_ONE: ColumnElement[int] = literal_column("1")


class Statements:
    """Every fixed statement, as SQL of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._metadata()
        self._experiments()
        self._parts()
        self._engine()
        self.blobs = BlobStatements(dialect)
        self.artifacts = ArtifactStatements(dialect)
        self.logs = LogStatements(dialect)
        self.models = ModelStatements(dialect)

    def _sql(self, statement: Any, *parameters: str) -> str:
        return compiled(statement, self.dialect, parameters)

    def _insert(self, name: str) -> str:
        columns = tuple(column.name for column in table(name).columns)
        return self._sql(insert(table(name)), *columns)

    def _metadata(self) -> None:
        meta, change, request = _meta.c, _change.c, _request.c
        self.insert_meta = self._insert("meta")
        self.identity = self._sql(
            select(meta.control_plane_id, meta.history_id, meta.token_key, meta.revision)
        )
        self.pruned = self._sql(select(meta.pruned))
        self.restored = self._sql(select(meta.restored))
        self.next_revision = self._sql(
            _meta.update().values(revision=meta.revision + _ONE).returning(meta.revision)
        )
        self.set_revision = self._sql(_meta.update().values(revision=at("last")), "last")
        self.revision = self._sql(select(meta.revision))
        self.insert_change = self._insert("change")
        self.changes_after = self._sql(
            _changes().where(change.revision > at("revision")), "revision"
        )
        self.changes_until = self._sql(
            _changes().where(change.revision > at("after"), change.revision <= at("until")),
            *("after", "until"),
        )
        self.changes_in = self._sql(_changes().where(change.revision == at("revision")), "revision")
        self.changed_uids = self._sql(
            select(change.revision, change.ordinal, change.uid)
            .where(
                change.revision > at("after"),
                change.revision <= at("until"),
                change.kind == at("kind"),
                change.team == at("team"),
            )
            .order_by(change.revision, change.ordinal),
            *("after", "until", "kind", "team"),
        )
        self.before = self._sql(
            select(change.before).where(
                change.revision == at("revision"), change.ordinal == at("ordinal")
            ),
            *("revision", "ordinal"),
        )
        self.oldest_changes = self._sql(
            select(change.revision, change.time)
            .order_by(change.revision, change.ordinal)
            .limit(at("limit"))
            .offset(_ZERO),
            "limit",
        )
        self.delete_changes = self._sql(
            delete(_change).where(change.revision <= at("revision")), "revision"
        )
        self.pruned_locked = self._sql(select(meta.pruned).with_for_update())
        self.set_pruned = self._sql(
            update(_meta).values(pruned=at("to")).where(meta.pruned < at("below")), "to", "below"
        )
        key = (request.principal, request.method, request.request_id)
        same = [column == at(f"_{column.name}") for column in key]
        names = ("_principal", "_method", "_request_id")
        self.request = self._sql(
            select(request.body_hash, request.uid, request.time).where(*same), *names
        )
        self.insert_request = self._insert("request")
        self.delete_request = self._sql(delete(_request).where(*same), *names)
        self.oldest_requests = self._sql(
            select(request.time)
            .where(request.time < at("before"))
            .order_by(request.time)
            .limit(at("limit"))
            .offset(_ZERO),
            *("before", "limit"),
        )
        self.delete_requests = self._sql(
            delete(_request).where(request.time <= at("until")), "until"
        )

    def _experiments(self) -> None:
        it = _experiment.c
        by_name = (it.team == at("team"), it.experiment_id == at("id"))
        by_uid = it.uid == at("_uid")
        stored = select(
            it.uid,
            it.team,
            it.cluster,
            it.create_time,
            it.update_time,
            it.revision,
            it.body,
        )
        self.get = self._sql(select(it.body).where(*by_name), "team", "id")
        self.get_by_uid = self._sql(select(it.body).where(by_uid), "_uid")
        self.stored_by_name = self._sql(stored.where(*by_name), "team", "id")
        self.stored = self._sql(stored.where(by_uid), "_uid")
        self.insert_experiment = self._insert("experiment")
        written = (
            *("state", "reason", "display_name", "update_time", "end_time", "revision"),
            *("active", "body"),
        )
        self.update_experiment = self._update("experiment", written, ("uid",))
        self.delete_experiment = self._sql(delete(_experiment).where(by_uid), "_uid")
        self.unsettled = self._sql(
            union(
                select(it.uid).where(it.cluster == at("c1"), text("active = 1")),
                select(_attempt.c.experiment_uid).where(
                    _attempt.c.cluster == at("c2"), text("settled = 0")
                ),
            ).order_by("uid"),
            *("c1", "c2"),
        )

    def _parts(self) -> None:
        event, task = _event.c, _task.c
        self.insert_label = self._insert("label")
        self.delete_labels = self._delete_of("label")
        self.insert_event = self._insert("event")
        self.last_event = self._sql(
            select(event.sequence)
            .where(event.experiment_uid == at("uid"))
            .order_by(event.sequence.desc())
            .limit(_ONE)
            .offset(_ZERO),
            "uid",
        )
        self.events = self._sql(
            select(event.sequence, event.body)
            .where(event.experiment_uid == at("uid"), event.sequence > at("after"))
            .order_by(event.sequence)
            .limit(at("limit"))
            .offset(_ZERO),
            *("uid", "after", "limit"),
        )
        self.delete_events = self._delete_of("event")
        self.insert_task = self._insert("task")
        self.update_task = self._update(
            "task", ("state", "reason", "body"), ("experiment_uid", "attempt", "role", "number")
        )
        self.tasks = self._sql(
            select(task.role, task.number, task.body)
            .where(task.experiment_uid == at("uid"), task.attempt == at("attempt"))
            .order_by(task.role, task.number),
            *("uid", "attempt"),
        )
        self.delete_tasks = self._delete_of("task")

    def _engine(self) -> None:
        attempt, lease, cluster = _attempt.c, _lease.c, _cluster.c
        of_uid = attempt.experiment_uid == at("uid")
        self.attempts = self._sql(select(_attempt).where(of_uid).order_by(attempt.number), "uid")
        self.attempt = self._sql(
            select(_attempt).where(of_uid, attempt.number == at("number")), "uid", "number"
        )
        self.insert_attempt = self._insert("attempt")
        key = ("experiment_uid", "number")
        fields = tuple(each.name for each in _attempt.columns if each.name not in key)
        self.update_attempt = self._update("attempt", fields, key)
        self.delete_attempts = self._delete_of("attempt")
        self.lease = self._sql(select(_lease).where(lease.cluster == at("cluster")), "cluster")
        locked = select(_lease).where(lease.cluster == at("cluster"))
        self.lease_locked = self._sql(locked.with_for_update(), "cluster")
        self.lease_shared = self._sql(locked.with_for_update(read=True), "cluster")
        self.insert_lease = self._insert("lease")
        self.update_lease = self._update(
            "lease", ("holder", "epoch", "renewals", "home"), ("cluster",)
        )
        self.server = self._sql(select(_server).where(_server.c.id == at("id")), "id")
        self.put_server = self._put("server", "id")
        setting = table("setting").c
        self.setting = self._sql(select(setting.value).where(setting.key == at("key")), "key")
        self.settle = f"{self._insert('setting')} ON CONFLICT DO NOTHING"
        self.clusters = self._sql(select(cluster.body).order_by(cluster.name))
        self.cluster = self._sql(select(cluster.body).where(cluster.name == at("name")), "name")
        self.put_cluster = self._put("cluster", "name")
        self.delete_cluster = self._sql(delete(_cluster).where(cluster.name == at("name")), "name")

    def _update(self, name: str, columns: tuple[str, ...], key: tuple[str, ...]) -> str:
        """`UPDATE name SET columns WHERE key`: takes the columns, then the key."""
        of = table(name)
        statement: Update = (
            update(of)
            .ordered_values(*((of.c[each], at(f"new_{each}")) for each in columns))
            .where(*(of.c[each] == at(f"key_{each}") for each in key))
        )
        names = (*(f"new_{each}" for each in columns), *(f"key_{each}" for each in key))
        return self._sql(statement, *names)

    def _put(self, name: str, key: str) -> str:
        """Inserts a row, or replaces the one with that key: takes the table's columns."""
        rest = [column.name for column in table(name).columns if column.name != key]
        assignments = ", ".join(f"{column} = excluded.{column}" for column in rest)
        return f"{self._insert(name)} ON CONFLICT ({key}) DO UPDATE SET {assignments}"

    def _delete_of(self, name: str) -> str:
        """Deletes all rows of an experiment."""
        statement: Delete = delete(table(name)).where(table(name).c.experiment_uid == at("uid"))
        return self._sql(statement, "uid")


def _changes() -> Select[Any]:
    it = _change.c
    columns = (it.revision, it.ordinal, it.uid, it.before, it.after, it.time, it.team, it.kind)
    return select(*columns).order_by(it.revision, it.ordinal)
