"""The tables of the metastore.

Every resource is kept as its serialised protobuf message in `body`, the last column of its row,
beside the columns that are searched or ordered by. Times are microseconds since the epoch; 0
stands for "not yet", so that every order has one place for it. Booleans that a partial index
depends on are 0 or 1, so that one condition serves every database.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, MetaData, Table, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(SQLModel, registry=registry(metadata=MetaData(naming_convention=NAMING))):
    """Base of the metastore's tables: they share one MetaData of their own."""


class Meta(Base, table=True):
    """The one row about the metastore itself.

    `revision` is the last that was given out; updating it is the mutex of all writers. Changes
    up to `pruned` are no longer kept. `restored`: it comes from a backup, and workloads that it
    does not know may belong to what was lost.
    """

    id: int = Field(primary_key=True, sa_type=BigInteger)
    revision: int = Field(sa_type=BigInteger)
    pruned: int = Field(sa_type=BigInteger)
    control_plane_id: str
    history_id: str
    token_key: bytes
    restored: int = Field(sa_column_kwargs={"server_default": "0"})


class ExperimentRow(Base, table=True):
    """An experiment. `active`: it has not ended, or is being deleted."""

    __tablename__ = "experiment"
    __table_args__ = (
        Index("uq_experiment_name", "team", "experiment_id", unique=True),
        Index("ix_experiment_uid", "team", "uid"),
        Index("ix_experiment_created", "team", "create_time", "uid"),
        Index("ix_experiment_updated", "team", "update_time", "uid"),
        Index("ix_experiment_ended", "team", "end_time", "uid"),
        Index("ix_experiment_state", "team", "state", "create_time", "uid"),
        Index("ix_experiment_cluster", "team", "cluster", "create_time", "uid"),
        Index("ix_experiment_creator", "team", "creator", "create_time", "uid"),
        Index(
            "ix_experiment_active",
            "cluster",
            "uid",
            sqlite_where=text("active = 1"),
            postgresql_where=text("active = 1"),
        ),
    )

    uid: str = Field(primary_key=True)
    team: str
    experiment_id: str
    state: int
    reason: str
    cluster: str
    creator: str
    display_name: str
    create_time: int = Field(sa_type=BigInteger)
    update_time: int = Field(sa_type=BigInteger)
    end_time: int = Field(sa_type=BigInteger)
    revision: int = Field(sa_type=BigInteger)
    active: int
    body: bytes


class LabelRow(Base, table=True):
    """A label of an experiment; team and create_time never change, and order it by itself."""

    __tablename__ = "label"
    __table_args__ = (
        Index("ix_label_value", "team", "key", "value", "create_time", "experiment_uid"),
    )

    experiment_uid: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    value: str
    team: str
    create_time: int = Field(sa_type=BigInteger)


class EventRow(Base, table=True):
    """An entry of an experiment's history: `subgrpc.v1.ExperimentEvent`."""

    __tablename__ = "event"

    experiment_uid: str = Field(primary_key=True)
    sequence: int = Field(primary_key=True, sa_type=BigInteger)
    body: bytes


class Attempt(Base, table=True):
    """An attempt: see `subgrpc.metastore.records.AttemptRow`."""

    __tablename__ = "attempt"
    __table_args__ = (
        Index(
            "ix_attempt_unsettled",
            "cluster",
            "experiment_uid",
            sqlite_where=text("settled = 0"),
            postgresql_where=text("settled = 0"),
        ),
    )

    experiment_uid: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    cluster: str
    handle: bytes
    create_time: int = Field(sa_type=BigInteger)
    start_time: int | None = Field(sa_type=BigInteger)
    end_time: int | None = Field(sa_type=BigInteger)
    stopping: str
    reason: str
    message: str
    logs_complete: int
    settled: int
    journal_server: str = Field(sa_column_kwargs={"server_default": ""})
    journal: int = Field(sa_column_kwargs={"server_default": "0"})


class TaskRow(Base, table=True):
    """A task of an attempt: `subgrpc.v1.Task`. Role and number name it, as `role-number` does."""

    __tablename__ = "task"

    experiment_uid: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    role: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    state: int
    reason: str
    body: bytes


class LogRow(Base, table=True):
    """The output of an attempt, once it is complete: see `subgrpc.metastore.logs`."""

    __tablename__ = "log"
    __table_args__ = (
        *(
            Index(
                name,
                *columns,
                sqlite_where=text(condition),
                postgresql_where=text(condition),
            )
            for name, columns, condition in (
                ("ix_log_pending", ("end_time",), "state = 0"),
                ("ix_log_kept", ("end_time",), "state < 2"),
                ("ix_log_local", ("end_time", "server", "size"), "local = 1"),
                ("ix_log_expired", ("server",), "local = 1 AND state = 2"),
            )
        ),
    )

    experiment_uid: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    state: int
    server: str
    journal: int
    local: int
    end_time: int = Field(sa_type=BigInteger)
    size: int = Field(sa_type=BigInteger)
    digests: bytes
    body: bytes


class ChangeRow(Base, table=True):
    """A change: see `subgrpc.metastore.records.Change`."""

    __tablename__ = "change"

    revision: int = Field(primary_key=True, sa_type=BigInteger)
    ordinal: int = Field(primary_key=True)
    time: int = Field(sa_type=BigInteger)
    kind: str
    team: str
    uid: str
    before: bytes | None
    after: bytes | None


class RequestRow(Base, table=True):
    """A request id that was used: see `subgrpc.metastore.records.RememberedRequest`."""

    __tablename__ = "request"
    __table_args__ = (Index("ix_request_time", "time"),)

    principal: str = Field(primary_key=True)
    method: str = Field(primary_key=True)
    request_id: str = Field(primary_key=True)
    body_hash: bytes
    uid: str
    time: int = Field(sa_type=BigInteger)


class LeaseRow(Base, table=True):
    """Who leads a cluster: see `subgrpc.metastore.records.Lease`."""

    __tablename__ = "lease"

    cluster: str = Field(primary_key=True)
    holder: str
    epoch: int = Field(sa_type=BigInteger)
    renewals: int = Field(sa_type=BigInteger)
    home: str = Field(sa_column_kwargs={"server_default": ""})


class ServerRow(Base, table=True):
    """A server as it was last started: see `subgrpc.metastore.records.ServerRecord`."""

    __tablename__ = "server"

    id: str = Field(primary_key=True)
    address: str
    host: str
    version: str
    start_time: int = Field(sa_type=BigInteger)


class ClusterRow(Base, table=True):
    """A cluster as it was last published: `subgrpc.v1.Cluster`."""

    __tablename__ = "cluster"

    name: str = Field(primary_key=True)
    body: bytes


class SettingRow(Base, table=True):
    """What was settled once, for all servers of a control plane."""

    __tablename__ = "setting"

    key: str = Field(primary_key=True)
    value: str


class ObjectRow(Base, table=True):
    """An object of the artifact store: see `subgrpc.metastore.blobs`.

    `ready`: it is in the store, as a whole. `users`: how many artifacts need it, the number of
    its rows in `artifact_object`. `condemned_time`: since when nobody may come to need it.
    """

    __tablename__ = "object"
    __table_args__ = (
        Index(
            "ix_object_unused",
            "touch_time",
            "id",
            sqlite_where=text("users = 0"),
            postgresql_where=text("users = 0"),
        ),
    )

    id: str = Field(primary_key=True)
    sha256: bytes
    size: int = Field(sa_type=BigInteger)
    ready: int
    users: int = Field(sa_type=BigInteger)
    create_time: int = Field(sa_type=BigInteger)
    touch_time: int = Field(sa_type=BigInteger)
    condemned_time: int = Field(sa_type=BigInteger)


class BlobRow(Base, table=True):
    """Where in which object a blob is."""

    __tablename__ = "blob"
    __table_args__ = (Index("ix_blob_object_id", "object_id"),)

    digest: bytes = Field(primary_key=True)
    object_id: str
    start: int = Field(sa_type=BigInteger)
    size: int = Field(sa_type=BigInteger)


class ArtifactObjectRow(Base, table=True):
    """An artifact needs an object."""

    __tablename__ = "artifact_object"

    artifact_uid: str = Field(primary_key=True)
    object_id: str = Field(primary_key=True)


class ArtifactRow(Base, table=True):
    """An artifact: `subgrpc.v1.Artifact`. `tail`: how its files go on; empty: they do not."""

    __tablename__ = "artifact"
    __table_args__ = (
        Index("uq_artifact_name", "team", "artifact_id", unique=True),
        Index("ix_artifact_uid", "team", "uid"),
        Index("ix_artifact_created", "team", "create_time", "uid"),
        Index("ix_artifact_updated", "team", "update_time", "uid"),
        Index("ix_artifact_experiment", "team", "experiment", "create_time", "uid"),
        Index("ix_artifact_digest", "team", "digest", "create_time", "uid"),
        Index("ix_artifact_creator", "team", "creator", "create_time", "uid"),
        Index(
            "ix_artifact_open",
            "update_time",
            "uid",
            sqlite_where=text("state = 1"),
            postgresql_where=text("state = 1"),
        ),
    )

    uid: str = Field(primary_key=True)
    team: str
    artifact_id: str
    state: int
    creator: str
    display_name: str
    digest: str
    experiment: str
    output: str
    create_time: int = Field(sa_type=BigInteger)
    update_time: int = Field(sa_type=BigInteger)
    tail: bytes
    body: bytes


class ArtifactLabelRow(Base, table=True):
    """A label of an artifact: as `LabelRow`."""

    __tablename__ = "artifact_label"
    __table_args__ = (
        Index("ix_artifact_label_value", "team", "key", "value", "create_time", "artifact_uid"),
    )

    artifact_uid: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    value: str
    team: str
    create_time: int = Field(sa_type=BigInteger)


class ArtifactFilesRow(Base, table=True):
    """Some files of an artifact, by path: see `subgrpc.metastore.records.FileBatch`."""

    __tablename__ = "artifact_files"

    artifact_uid: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    first_path: str
    file_count: int
    body: bytes


class ArtifactReferenceRow(Base, table=True):
    """Something needs an artifact, which is therefore not deleted: `referrer` is its name."""

    __tablename__ = "artifact_reference"
    __table_args__ = (Index("ix_artifact_reference_referrer", "referrer"),)

    artifact_uid: str = Field(primary_key=True)
    referrer: str = Field(primary_key=True)


def table(name: str) -> Table:
    """The SQLAlchemy table of that name."""
    return Base.metadata.tables[name]
