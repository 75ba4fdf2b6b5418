"""Looks for broken invariants in the model registry: see `subgrpc.metastore.audit`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from sqlalchemy import Connection, Row, Table, and_, exists, func, select

from subgrpc.filters import micros
from subgrpc.metastore.audit import WINDOW, Problem
from subgrpc.metastore.kinds import MODEL_VERSIONS, MODELS, Kind
from subgrpc.metastore.tables import table
from subgrpc.v1.model_registry_service_pb2 import Model, ModelVersion

_model, _version, _alias = table("model"), table("model_version"), table("model_alias")
_event, _reference = table("model_event"), table("artifact_reference")
_PARTS = (
    ("model_tag", "model_uid", _model),
    ("model_event", "model_uid", _model),
    ("model_version_tag", "version_uid", _version),
    ("model_version_metric", "version_uid", _version),
    ("model_alias", "version_uid", _version),
)
"""Tables whose rows belong to a model or a version, and by which column."""


class _Numbers(NamedTuple):
    """The versions that a model has."""

    versions: int
    greatest: int


class ModelAudit:
    """One look at the registry.

    Attributes:
        models: how many there are; filled by `problems`.
        versions: how many there are; filled by `problems`.
    """

    def __init__(self, connection: Connection) -> None:
        """The connection is in a transaction that sees one state of the database."""
        self.models = 0
        self.versions = 0
        self._connection = connection

    def problems(self) -> Iterator[Problem]:
        """Yields everything that is wrong."""
        yield from self._orphans()
        for models in self._windows(_model):
            self.models += len(models)
            yield from self._models(models)
        for versions in self._windows(_version):
            self.versions += len(versions)
            yield from self._versions(versions)

    def _rows(self, statement: Any) -> Sequence[Row[Any]]:
        return self._connection.execute(statement).all()

    def _windows(self, of: Table) -> Iterator[Sequence[Row[Any]]]:
        after = ""
        while rows := self._rows(
            select(of).where(of.c.uid > after).order_by(of.c.uid).limit(WINDOW)
        ):
            yield rows
            after = rows[-1].uid

    def _orphans(self) -> Iterator[Problem]:
        """Rows of models and versions that are not there, and versions without a model."""
        for name, column, owner in _PARTS:
            part = table(name)
            missing = ~exists().where(owner.c.uid == part.c[column])
            found = select(part.c[column], func.count()).where(missing).group_by(part.c[column])
            for uid, count in map(tuple, self._rows(found)):
                text = f"{count} rows belong to a {owner.name} that is not there"
                yield Problem("ORPHAN_ROWS", f"table {name}, {owner.name} {uid}", text)
        same = and_(_model.c.team == _version.c.team, _model.c.model_id == _version.c.model_id)
        alone = select(_version.c.uid, _version.c.model_id).where(~exists().where(same))
        for uid, model_id in map(tuple, self._rows(alone)):
            yield Problem("ORPHAN_ROWS", f"version {uid}", f"there is no model {model_id}")

    def _models(self, rows: Sequence[Row[Any]]) -> Iterator[Problem]:
        uids = [row.uid for row in rows]
        tags = self._pairs("model_tag", "model_uid", uids)
        numbers = self._numbers(uids)
        aliases = self._aliases(uids)
        last = self._last_changes(MODELS, uids)
        for row in rows:
            where = f"teams/{row.team}/models/{row.model_id} ({row.uid})"
            try:
                model = Model.FromString(row.body)
            except DecodeError as error:
                yield Problem("BODY", where, f"it cannot be read: {error}")
                continue
            yield from _columns(where, row, _model_columns(model), model.etag)
            if tags[row.uid] != dict(model.tags):
                yield Problem("LABELS", where, "the rows of its tags are not what it has")
            yield from _counts(where, row, model, numbers.get(row.uid, _Numbers(0, 0)))
            mine = aliases[row.uid]
            if {each.alias: each.number for each in mine} != dict(model.aliases):
                yield Problem("ALIAS", where, "the rows of its aliases are not what it has")
            yield from self._history(where, row.uid, mine)
            if row.uid in last and last[row.uid] != row.body:
                yield Problem("CHANGE", where, "it is not what its last change says")

    def _history(self, where: str, uid: str, aliases: Sequence[Row[Any]]) -> Iterator[Problem]:
        """It has no holes, and says why each alias refers to what it does."""
        it = _event.c
        counted = select(func.count(), func.min(it.sequence), func.max(it.sequence))
        count, first, last = tuple(self._rows(counted.where(it.model_uid == uid))[0])
        if (first, last) != (1, count):
            text = f"its history has {count} entries, from {first} to {last}"
            yield Problem("EVENT_HOLE", where, text)
        for alias in aliases:
            chain = self._rows(
                select(it.type, it.alias, it.version, it.below).where(
                    it.model_uid == uid, it.sequence == alias.sequence
                )
            )
            wanted = ("AliasSet", alias.alias, alias.number)
            if not chain or tuple(chain[0])[:3] != wanted or chain[0].below >= alias.sequence:
                text = f"entry {alias.sequence} of its history has not set {alias.alias} so"
                yield Problem("ALIAS", where, text)

    def _versions(self, rows: Sequence[Row[Any]]) -> Iterator[Problem]:
        uids = [row.uid for row in rows]
        tags = self._pairs("model_version_tag", "version_uid", uids)
        metrics = self._pairs("model_version_metric", "version_uid", uids)
        aliases: dict[str, list[Row[Any]]] = defaultdict(list)
        of_versions = select(_alias).where(_alias.c.version_uid.in_(uids)).order_by(_alias.c.alias)
        for each in self._rows(of_versions):
            aliases[each.version_uid].append(each)
        held = self._held(rows)
        last = self._last_changes(MODEL_VERSIONS, uids)
        for row in rows:
            where = f"teams/{row.team}/models/{row.model_id}/versions/{row.number} ({row.uid})"
            try:
                version = ModelVersion.FromString(row.body)
            except DecodeError as error:
                yield Problem("BODY", where, f"it cannot be read: {error}")
                continue
            yield from _columns(where, row, _version_columns(version), version.etag)
            if tags[row.uid] != dict(version.tags) or metrics[row.uid] != dict(version.metrics):
                text = "the rows of its tags and metrics are not what it has"
                yield Problem("LABELS", where, text)
            wanted = [(alias, row.number, row.create_time) for alias in version.aliases]
            if [(it.alias, it.number, it.create_time) for it in aliases[row.uid]] != wanted:
                yield Problem("ALIAS", where, "the rows of its aliases are not what it has")
            if (version.name, version.artifact) not in held:
                text = f"nothing keeps {version.artifact} from being deleted, or it was"
                yield Problem("ARTIFACT_REFERENCE", where, text)
            if row.uid in last and last[row.uid] != row.body:
                yield Problem("CHANGE", where, "it is not what its last change says")

    def _pairs(self, name: str, owner: str, uids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Tags or metrics, by owner."""
        part = table(name)
        found: dict[str, dict[str, Any]] = defaultdict(dict)
        for row in self._rows(select(part).where(part.c[owner].in_(uids))):
            found[getattr(row, owner)][row.key] = row.value
        return found

    def _numbers(self, uids: Sequence[str]) -> dict[str, _Numbers]:
        joined = and_(_model.c.team == _version.c.team, _model.c.model_id == _version.c.model_id)
        counted = (
            select(_model.c.uid, func.count(), func.max(_version.c.number))
            .where(_model.c.uid.in_(uids), joined)
            .group_by(_model.c.uid)
        )
        return {uid: _Numbers(*rest) for uid, *rest in map(tuple, self._rows(counted))}

    def _aliases(self, uids: Sequence[str]) -> dict[str, list[Row[Any]]]:
        joined = and_(_model.c.team == _alias.c.team, _model.c.model_id == _alias.c.model_id)
        found: dict[str, list[Row[Any]]] = defaultdict(list)
        for row in self._rows(select(_model.c.uid, _alias).where(_model.c.uid.in_(uids), joined)):
            found[row.uid].append(row)
        return found

    def _held(self, rows: Sequence[Row[Any]]) -> set[tuple[str, str]]:
        """The artifacts that versions hold: names of both."""
        artifact = table("artifact")
        wanted = [f"teams/{row.team}/models/{row.model_id}/versions/{row.number}" for row in rows]
        kept = select(_reference.c.referrer, artifact.c.team, artifact.c.artifact_id).where(
            _reference.c.referrer.in_(wanted), artifact.c.uid == _reference.c.artifact_uid
        )
        return {
            (each.referrer, f"teams/{each.team}/artifacts/{each.artifact_id}")
            for each in self._rows(kept)
        }

    def _last_changes(self, kind: Kind, uids: Sequence[str]) -> dict[str, bytes | None]:
        """What the last change that is kept made of each resource."""
        of, change = kind.table.c, table("change").c
        rows = self._rows(
            select(change.uid, change.after)
            .where(of.uid.in_(uids), change.revision == of.revision, change.uid == of.uid)
            .order_by(change.ordinal)
        )
        return {row.uid: row.after for row in rows}


def _columns(where: str, row: Row[Any], wanted: dict[str, Any], etag: str) -> Iterator[Problem]:
    """What lists are ordered and filtered by is what the message says."""
    for name, value in wanted.items():
        if getattr(row, name) != value:
            text = f"column {name} is {getattr(row, name)!r}, the message has {value!r}"
            yield Problem("COLUMN", where, text)
    if etag != f"{row.revision:x}":
        text = f"its etag {etag!r} is not that of its revision {row.revision}"
        yield Problem("COLUMN", where, text)


def _model_columns(model: Model) -> dict[str, Any]:
    _, team, _, model_id = (*model.name.split("/"), "", "", "", "")[:4]
    return {
        "uid": model.uid,
        "team": team,
        "model_id": model_id,
        "creator": model.creator,
        "display_name": model.display_name,
        "latest_version": model.latest_version,
        "create_time": micros(model.create_time),
        "update_time": micros(model.update_time),
    }


def _version_columns(version: ModelVersion) -> dict[str, Any]:
    _, team, _, model_id = (*version.name.split("/"), "", "", "", "")[:4]
    return {
        "uid": version.uid,
        "team": team,
        "model_id": model_id,
        "number": version.number,
        "stage": version.stage,
        "creator": version.creator,
        "framework": version.framework.name,
        "artifact": version.artifact,
        "experiment": version.lineage.experiment,
        "create_time": micros(version.create_time),
        "update_time": micros(version.update_time),
    }


def _counts(where: str, row: Row[Any], model: Model, numbers: _Numbers) -> Iterator[Problem]:
    """What a model says of its versions is so, and no number comes twice."""
    if (model.version_count, model.latest_version) != numbers:
        text = (
            f"it says that it has {model.version_count} versions up to {model.latest_version}; "
            f"there are {numbers.versions} up to {numbers.greatest}"
        )
        yield Problem("VERSIONS", where, text)
    if row.last_version < numbers.greatest:
        text = f"number {numbers.greatest} is there, but the last given out is {row.last_version}"
        yield Problem("VERSIONS", where, text)
