"""The tables of the model registry: see `subgrpc.metastore.tables` for what all tables share.

Rows are found by team and model id, which never change, so that one read finds a version or the
one that an alias refers to.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Index
from sqlmodel import Field

from subgrpc.metastore.tables import Base


class ModelRow(Base, table=True):
    """A model: `subgrpc.v1.Model`. `last_version`: the greatest number that was ever given out."""

    __tablename__ = "model"
    __table_args__ = (
        Index("uq_model_name", "team", "model_id", unique=True),
        Index("ix_model_uid", "team", "uid"),
        Index("ix_model_created", "team", "create_time", "uid"),
        Index("ix_model_updated", "team", "update_time", "uid"),
        Index("ix_model_creator", "team", "creator", "create_time", "uid"),
    )

    uid: str = Field(primary_key=True)
    team: str
    model_id: str
    creator: str
    display_name: str
    latest_version: int
    last_version: int
    create_time: int = Field(sa_type=BigInteger)
    update_time: int = Field(sa_type=BigInteger)
    revision: int = Field(sa_type=BigInteger)
    body: bytes


class ModelTagRow(Base, table=True):
    """A tag of a model; team and create_time are the model's, and order it by itself."""

    __tablename__ = "model_tag"
    __table_args__ = (
        Index("ix_model_tag_value", "team", "key", "value", "create_time", "model_uid"),
    )

    model_uid: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    value: str
    team: str
    create_time: int = Field(sa_type=BigInteger)


class ModelVersionRow(Base, table=True):
    """A version of a model: `subgrpc.v1.ModelVersion`.

    Its row is what keeps its artifact: one that a version has cannot be deleted.
    """

    __tablename__ = "model_version"
    __table_args__ = (
        Index("uq_model_version_number", "team", "model_id", "number", unique=True),
        Index("ix_model_version_stage_of", "team", "model_id", "stage", "number"),
        Index("ix_model_version_created_of", "team", "model_id", "create_time", "uid"),
        Index("ix_model_version_updated_of", "team", "model_id", "update_time", "uid"),
        Index("ix_model_version_uid", "team", "uid"),
        Index("ix_model_version_created", "team", "create_time", "uid"),
        Index("ix_model_version_updated", "team", "update_time", "uid"),
        Index("ix_model_version_stage", "team", "stage", "create_time", "uid"),
        Index("ix_model_version_creator", "team", "creator", "create_time", "uid"),
        Index("ix_model_version_artifact", "team", "artifact", "create_time", "uid"),
        Index("ix_model_version_experiment", "team", "experiment", "create_time", "uid"),
    )

    uid: str = Field(primary_key=True)
    team: str
    model_id: str
    number: int
    stage: str
    creator: str
    framework: str
    artifact: str
    experiment: str
    create_time: int = Field(sa_type=BigInteger)
    update_time: int = Field(sa_type=BigInteger)
    revision: int = Field(sa_type=BigInteger)
    body: bytes


class ModelVersionTagRow(Base, table=True):
    """A tag of a version, as `ModelTagRow`."""

    __tablename__ = "model_version_tag"
    __table_args__ = (
        Index("ix_model_version_tag_value", "team", "key", "value", "create_time", "version_uid"),
    )

    version_uid: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    value: str
    team: str
    create_time: int = Field(sa_type=BigInteger)


class ModelVersionMetricRow(Base, table=True):
    """A metric of a version."""

    __tablename__ = "model_version_metric"

    version_uid: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    value: float


class ModelAliasRow(Base, table=True):
    """An alias: the version that it refers to, the entry of the history that says so, and when.

    create_time is the version's, so that versions are found by alias in their order.
    """

    __tablename__ = "model_alias"
    __table_args__ = (
        Index("ix_model_alias_version", "version_uid"),
        Index("ix_model_alias_created", "team", "alias", "create_time", "version_uid"),
    )

    team: str = Field(primary_key=True)
    model_id: str = Field(primary_key=True)
    alias: str = Field(primary_key=True)
    version_uid: str
    number: int
    sequence: int = Field(sa_type=BigInteger)
    time: int = Field(sa_type=BigInteger)
    create_time: int = Field(sa_type=BigInteger)


class ModelEventRow(Base, table=True):
    """An entry of a model's history: `subgrpc.v1.ModelEvent`.

    `below`: of an entry by which an alias came to refer to a version, the one that a rollback
    goes back to; 0: there is none.
    """

    __tablename__ = "model_event"

    model_uid: str = Field(primary_key=True)
    sequence: int = Field(primary_key=True, sa_type=BigInteger)
    type: str
    version: int
    alias: str
    actor: str
    time: int = Field(sa_type=BigInteger)
    below: int = Field(sa_type=BigInteger)
    body: bytes
