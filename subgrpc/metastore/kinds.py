"""The kinds of resources that are listed, searched and watched, and where their fields are kept.

What stands here, and the indexes of `tables`, decides which filters are quick: everything else is
judged row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import Message
from sqlalchemy import Column, ColumnElement, Table, and_

from subgrpc.filters import (
    ARTIFACT_FIELDS,
    EVENT_FIELDS,
    EXPERIMENT_FIELDS,
    MODEL_FIELDS,
    VERSION_FIELDS,
    FilterField,
)
from subgrpc.filters.model_fields import MODEL_KIND, VERSION_KIND
from subgrpc.metastore import model_tables as model_tables  # makes them known
from subgrpc.metastore.tables import table
from subgrpc.v1.artifact_service_pb2 import Artifact
from subgrpc.v1.experiment_service_pb2 import Experiment
from subgrpc.v1.model_registry_service_pb2 import Model, ModelEvent, ModelVersion


@dataclass(frozen=True, eq=False)
class Related:
    """Rows of another table that belong to a resource, such as its labels.

    Attributes:
        on: which: those of the row of the resource.
        value: the column that a filter's value is compared with.
        key: the column of a filter's key; None: the field has no keys.
        walk: the columns that order the index of key and value, as create_time and uid order the
            resource itself; empty: no index serves it.
    """

    on: ColumnElement[bool]
    value: Column[Any]
    key: Column[Any] | None = None
    walk: tuple[Column[Any], ...] = ()


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of resource.

    Attributes:
        name: in `change.kind`.
        table: with the columns uid, team, revision, body, and those of fields and orders.
        parse: reads the body.
        fields: how filters read the message.
        unique: fields of which at most one resource of a team has a value.
        indexed: fields with an index that continues with create_time and uid: the likely most
            selective first.
        sole: orders in which no two resources are alike, so that no uid has to follow.
        unset: columns where 0 stands for "not there".
        constants: fields that have the same value in all of them.
        related: fields that are kept in another table.
    """

    name: str
    table: Table
    parse: Callable[[bytes], Message]
    fields: Mapping[str, FilterField]
    unique: tuple[str, ...]
    indexed: tuple[str, ...]
    sole: tuple[str, ...] = ("uid",)
    unset: tuple[str, ...] = ()
    constants: Mapping[str, int] = field(default_factory=dict)
    related: Mapping[str, Related] = field(default_factory=dict)

    def column(self, name: str) -> Column[Any]:
        """The column of a field."""
        return self.table.c[name]

    def lacks(self, name: str) -> bool:
        """Whether a field is one of other kinds only, which are searched together with this one."""
        return name not in self.fields


_experiment, _label = table("experiment"), table("label")

EXPERIMENTS: Final = Kind(
    name="experiment",
    table=_experiment,
    parse=Experiment.FromString,
    fields=EXPERIMENT_FIELDS,
    unique=("uid", "experiment_id"),
    indexed=("labels", "creator", "cluster", "state"),
    unset=("end_time",),
    related={
        "labels": Related(
            on=_label.c.experiment_uid == _experiment.c.uid,
            key=_label.c.key,
            value=_label.c.value,
            walk=(_label.c.create_time, _label.c.experiment_uid),
        )
    },
)

_artifact, _artifact_label = table("artifact"), table("artifact_label")

ARTIFACTS: Final = Kind(
    name="artifact",
    table=_artifact,
    parse=Artifact.FromString,
    fields=ARTIFACT_FIELDS,
    unique=("uid", "artifact_id"),
    indexed=("labels", "experiment", "digest", "creator"),
    related={
        "labels": Related(
            on=_artifact_label.c.artifact_uid == _artifact.c.uid,
            key=_artifact_label.c.key,
            value=_artifact_label.c.value,
            walk=(_artifact_label.c.create_time, _artifact_label.c.artifact_uid),
        )
    },
)
"""They change without a revision: nobody watches them, and there are no snapshots of them."""

_model, _model_tag = table("model"), table("model_tag")
_version, _version_tag = table("model_version"), table("model_version_tag")
_metric, _alias = table("model_version_metric"), table("model_alias")

MODELS: Final = Kind(
    name="model",
    table=_model,
    parse=Model.FromString,
    fields=MODEL_FIELDS,
    unique=("uid", "model_id"),
    indexed=("tags", "creator"),
    constants={"kind": MODEL_KIND},
    related={
        "tags": Related(
            on=_model_tag.c.model_uid == _model.c.uid,
            key=_model_tag.c.key,
            value=_model_tag.c.value,
            walk=(_model_tag.c.create_time, _model_tag.c.model_uid),
        ),
        "alias": Related(
            on=and_(_alias.c.team == _model.c.team, _alias.c.model_id == _model.c.model_id),
            value=_alias.c.alias,
        ),
    },
)

MODEL_VERSIONS: Final = Kind(
    name="model_version",
    table=_version,
    parse=ModelVersion.FromString,
    fields=VERSION_FIELDS,
    unique=("uid",),
    indexed=("alias", "tags", "experiment", "artifact", "model_id", "stage", "creator"),
    sole=("uid", "number"),
    constants={"kind": VERSION_KIND},
    related={
        "tags": Related(
            on=_version_tag.c.version_uid == _version.c.uid,
            key=_version_tag.c.key,
            value=_version_tag.c.value,
            walk=(_version_tag.c.create_time, _version_tag.c.version_uid),
        ),
        "metrics": Related(
            on=_metric.c.version_uid == _version.c.uid,
            key=_metric.c.key,
            value=_metric.c.value,
        ),
        "alias": Related(
            on=_alias.c.version_uid == _version.c.uid,
            value=_alias.c.alias,
            walk=(_alias.c.create_time, _alias.c.version_uid),
        ),
    },
)
"""By number they are in order within one model only."""

MODEL_EVENTS: Final = Kind(
    name="model_event",
    table=table("model_event"),
    parse=ModelEvent.FromString,
    fields=EVENT_FIELDS,
    unique=(),
    indexed=(),
    sole=("sequence",),
)
"""Of one model: nobody watches them."""
