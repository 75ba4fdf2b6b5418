"""The kinds of resources that are listed, searched and watched, and where their fields are kept.

What stands here, and the indexes of `tables`, decides which filters are quick: everything else is
judged row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import Message
from sqlalchemy import Column, ColumnElement, Table

from subgrpc.filters import ARTIFACT_FIELDS, EXPERIMENT_FIELDS, FilterField
from subgrpc.metastore.tables import table
from subgrpc.v1.artifact_service_pb2 import Artifact
from subgrpc.v1.experiment_service_pb2 import Experiment


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
    related: Mapping[str, Related] = field(default_factory=dict)

    def column(self, name: str) -> Column[Any]:
        """The column of a field."""
        return self.table.c[name]


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
