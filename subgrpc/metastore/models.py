"""Models, versions and aliases: the mutations. All of it is for `Metastore.write`.

What is read to be changed is a `Kept`: the message, and what is stored of it by now. Saving one
that was not changed writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from subgrpc import names
from subgrpc.errors import AlreadyExists
from subgrpc.filters import micros
from subgrpc.metastore.kinds import MODEL_VERSIONS, MODELS
from subgrpc.metastore.times import set_time
from subgrpc.metastore.transaction import Transaction
from subgrpc.names import ModelName, VersionName
from subgrpc.v1.artifact_service_pb2 import Artifact
from subgrpc.v1.model_registry_service_pb2 import Model, ModelVersion

M = TypeVar("M", Model, ModelVersion)


@dataclass(slots=True)
class Kept(Generic[M]):
    """A resource that is stored.

    Attributes:
        message: the caller's own, to be changed and saved.
        body: as it is stored.
    """

    message: M
    body: bytes


class Target(NamedTuple):
    """What an alias refers to.

    Attributes:
        version_uid: the version.
        number: its number.
        sequence: the entry of the history by which it came to do so.
        time: since when it does, µs.
    """

    version_uid: str
    number: int
    sequence: int
    time: int


def model_by_name(tx: Transaction, name: ModelName) -> Kept[Model] | None:
    """Returns the model of that name; None: there is none."""
    rows = tx.query(tx.statements.models.get, name)
    return Kept(Model.FromString(rows[0][0]), rows[0][0]) if rows else None


def model_by_uid(tx: Transaction, uid: str) -> Kept[Model] | None:
    """Returns the model with that uid, as `model_by_name` does."""
    rows = tx.query(tx.statements.models.by_uid, (uid,))
    return Kept(Model.FromString(rows[0][0]), rows[0][0]) if rows else None


def insert_model(tx: Transaction, model: Model) -> Kept[Model]:
    """Stores a new model; sets its etag, create_time and update_time.

    Raises:
        AlreadyExists: MODEL_EXISTS; it must pass through.
    """
    name = names.parse_model(model.name)
    set_time(model.create_time, tx.now)
    body = _stamped(tx, model)
    row = (
        *(model.uid, name.team, name.model, model.creator, model.display_name),
        *(model.latest_version, 0, tx.now, tx.now, tx.revision, body),
    )
    text, metadata = f"there is a model {name} already", {"name": str(name)}
    tx.run(
        tx.statements.models.insert,
        row,
        lambda: AlreadyExists(text, reason="MODEL_EXISTS", metadata=metadata),
    )
    _insert_tags(tx, model, name.team)
    tx.changed(MODELS.name, model.uid, name.team, None, body)
    return Kept(model, body)


def save_model(tx: Transaction, kept: Kept[Model]) -> None:
    """Stores what has become of a model. Name, uid, creator and create_time never change."""
    model, before = kept.message, kept.body
    if model.SerializeToString(deterministic=True) == before:
        return
    kept.body = _stamped(tx, model)
    values = (model.display_name, model.latest_version, tx.now, tx.revision, kept.body)
    tx.run(tx.statements.models.update, (*values, model.uid))
    team = names.parse_model(model.name).team
    if Model.FromString(before).tags != model.tags:
        tx.run(tx.statements.models.delete_tags, (model.uid,))
        _insert_tags(tx, model, team)
    tx.changed(MODELS.name, model.uid, team, before, kept.body)


def delete_model(tx: Transaction, kept: Kept[Model]) -> None:
    """Removes a model that has no versions any more, with its history."""
    statements, model = tx.statements.models, kept.message
    tx.require_revision()
    for sql in (statements.delete_tags, statements.delete_events, statements.delete):
        tx.run(sql, (model.uid,))
    team = names.parse_model(model.name).team
    tx.changed(MODELS.name, model.uid, team, kept.body, None)


def next_number(tx: Transaction, model: Model) -> int:
    """Gives the next number of a model's versions out: never again, unless the mutation fails."""
    rows = tx.query(tx.statements.models.next_number, (model.uid,))
    number: int = rows[0][0]
    return number


def latest_number(tx: Transaction, name: ModelName) -> int:
    """The greatest number of the versions that a model has; 0: it has none."""
    rows = tx.query(tx.statements.models.latest_number, name)
    return rows[0][0] or 0


def version_by_name(tx: Transaction, name: VersionName) -> Kept[ModelVersion] | None:
    """Returns a version; None: there is none."""
    return _version(tx, tx.statements.models.version, name)


def version_by_uid(tx: Transaction, uid: str) -> Kept[ModelVersion] | None:
    """Returns the version with that uid, as `version_by_name` does."""
    return _version(tx, tx.statements.models.version_by_uid, (uid,))


def some_versions(tx: Transaction, name: ModelName, limit: int) -> list[Kept[ModelVersion]]:
    """The first versions of a model, at most `limit`."""
    return _versions(tx, tx.statements.models.some_versions, (*name, limit))


def versions_in_stage(tx: Transaction, name: ModelName, stage: str) -> list[Kept[ModelVersion]]:
    """All versions of a model in a stage."""
    return _versions(tx, tx.statements.models.versions_in_stage, (*name, stage))


def insert_version(tx: Transaction, version: ModelVersion) -> Kept[ModelVersion]:
    """Stores a new version; sets its etag, create_time and update_time."""
    team, model_id, number = names.parse_version(version.name)
    set_time(version.create_time, tx.now)
    body = _stamped(tx, version)
    row = (
        *(version.uid, team, model_id, number, version.stage, version.creator),
        *(version.framework.name, version.artifact, version.lineage.experiment),
        *(tx.now, tx.now, tx.revision, body),
    )
    tx.run(tx.statements.models.insert_version, row)
    _insert_version_tags(tx, version, team)
    rows = [(version.uid, *metric) for metric in version.metrics.items()]
    tx.run_many(tx.statements.models.insert_metric, rows)
    tx.changed(MODEL_VERSIONS.name, version.uid, team, None, body)
    return Kept(version, body)


def save_version(tx: Transaction, kept: Kept[ModelVersion]) -> None:
    """Stores what has become of a version: of description, tags, stage and aliases."""
    version, before = kept.message, kept.body
    if version.SerializeToString(deterministic=True) == before:
        return
    kept.body = _stamped(tx, version)
    values = (version.stage, tx.now, tx.revision, kept.body)
    tx.run(tx.statements.models.update_version, (*values, version.uid))
    team = names.parse_version(version.name).team
    if ModelVersion.FromString(before).tags != version.tags:
        tx.run(tx.statements.models.delete_version_tags, (version.uid,))
        _insert_version_tags(tx, version, team)
    tx.changed(MODEL_VERSIONS.name, version.uid, team, before, kept.body)


def delete_version(tx: Transaction, kept: Kept[ModelVersion]) -> None:
    """Removes a version to which no alias refers any more."""
    statements, version = tx.statements.models, kept.message
    tx.require_revision()
    for sql in (
        *(statements.delete_version_tags, statements.delete_metrics),
        statements.delete_version,
    ):
        tx.run(sql, (version.uid,))
    team = names.parse_version(version.name).team
    tx.changed(MODEL_VERSIONS.name, version.uid, team, kept.body, None)


def outputs(tx: Transaction, team: str, experiment: str, limit: int) -> list[Artifact]:
    """Artifacts that are READY and outputs of an experiment of that name, the newest first."""
    rows = tx.query(tx.statements.models.outputs, (team, experiment, limit))
    return [Artifact.FromString(body) for (body,) in rows]


def alias_target(tx: Transaction, name: ModelName, alias: str) -> Target | None:
    """What an alias refers to; None: there is no such alias."""
    rows = tx.query(tx.statements.models.alias, (*name, alias))
    return Target._make(rows[0]) if rows else None


def put_alias(
    tx: Transaction, name: ModelName, alias: str, version: ModelVersion, sequence: int
) -> None:
    """Has an alias refer to a version, as an entry of the history says."""
    created = micros(version.create_time) if version.HasField("create_time") else tx.now
    target = Target(version.uid, version.number, sequence, tx.now)
    tx.run(tx.statements.models.put_alias, (*name, alias, *target, created))


def delete_alias(tx: Transaction, name: ModelName, alias: str) -> None:
    """Removes an alias."""
    tx.run(tx.statements.models.delete_alias, (*name, alias))


def _version(tx: Transaction, sql: str, key: tuple[str | int, ...]) -> Kept[ModelVersion] | None:
    return next(iter(_versions(tx, sql, key)), None)


def _versions(tx: Transaction, sql: str, key: tuple[str | int, ...]) -> list[Kept[ModelVersion]]:
    return [Kept(ModelVersion.FromString(body), body) for (body,) in tx.query(sql, key)]


def _stamped(tx: Transaction, message: Model | ModelVersion) -> bytes:
    tx.require_revision()
    message.etag = f"{tx.revision:x}"
    set_time(message.update_time, tx.now)
    return message.SerializeToString(deterministic=True)


def _insert_tags(tx: Transaction, model: Model, team: str) -> None:
    created = micros(model.create_time)
    rows = [(model.uid, *tag, team, created) for tag in model.tags.items()]
    tx.run_many(tx.statements.models.insert_tag, rows)


def _insert_version_tags(tx: Transaction, version: ModelVersion, team: str) -> None:
    created = micros(version.create_time)
    rows = [(version.uid, *tag, team, created) for tag in version.tags.items()]
    tx.run_many(tx.statements.models.insert_version_tag, rows)
