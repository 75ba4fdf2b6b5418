"""What happens to models and versions when they are changed, and what is wrong with requests."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from subgrpc.errors import Aborted, FieldViolation, InvalidArgument, NotFound
from subgrpc.metastore import Transaction, models
from subgrpc.metastore.models import Kept
from subgrpc.names import AliasName, ModelName, VersionName
from subgrpc.services import wire
from subgrpc.v1.model_registry_service_pb2 import Model, ModelAlias, ModelEvent, ModelVersion
from subgrpc.validation import raise_violations

NO_STAGE: Final = "None"
ARCHIVED: Final = "Archived"
PRODUCTION: Final = "Production"
LATEST: Final = "latest"
"""The alias that every model has."""
GREATEST_TAGS: Final = 64
"""As in the protos."""

_RESERVED: Final = re.compile(rf"{LATEST}|v[0-9]+")
_TAG: Final = "tags."


def missing_model(name: ModelName) -> NotFound:
    """The error that says that there is no such model."""
    metadata = {"name": str(name)}
    return NotFound(f"there is no model {name}", reason="MODEL_NOT_FOUND", metadata=metadata)


def missing_version(name: VersionName) -> NotFound:
    """The error that says that there is no such version."""
    return NotFound(
        f"there is no version {name.number} of {name.of}",
        reason="MODEL_VERSION_NOT_FOUND",
        metadata={"name": str(name)},
    )


def missing_alias(name: AliasName) -> NotFound:
    """The error that says that there is no such alias."""
    return NotFound(
        f"{name.of} has no alias {name.alias!r}",
        reason="MODEL_ALIAS_NOT_FOUND",
        metadata={"name": str(name)},
    )


def load_model(tx: Transaction, name: ModelName, etag: str = "") -> Kept[Model]:
    """The model of that name, to be changed.

    Raises:
        NotFound: reason MODEL_NOT_FOUND.
        Aborted: reason ETAG_MISMATCH.
    """
    model = models.model_by_name(tx, name)
    if model is None:
        raise missing_model(name)
    check_etag(model.message, etag)
    return model


def load_version(tx: Transaction, name: VersionName, etag: str = "") -> Kept[ModelVersion]:
    """The version of that name, to be changed; raises as `load_model`."""
    version = models.version_by_name(tx, name)
    if version is None:
        raise missing_version(name)
    check_etag(version.message, etag)
    return version


def check_etag(resource: Model | ModelVersion, wanted: str) -> None:
    """Sees to it that nobody has changed a resource since the caller saw it.

    Raises:
        Aborted: reason ETAG_MISMATCH. An empty etag is any.
    """
    if wanted and wanted != resource.etag:
        text = f"{resource.name} has changed: its etag is {resource.etag!r}, not {wanted!r}"
        raise Aborted(text, reason="ETAG_MISMATCH", metadata={"etag": resource.etag})


def check_alias(alias: str, field: str) -> None:
    """Sees to it that an alias is not taken for something else.

    Raises:
        InvalidArgument: reason RESERVED_ALIAS.
    """
    if _RESERVED.fullmatch(alias):
        text = f'{alias!r} cannot be set: "{LATEST}" is the newest version, "v" a number is one'
        violation = FieldViolation(field, text, "RESERVED_ALIAS")
        raise InvalidArgument(violations=[violation], reason="RESERVED_ALIAS")


def masked(paths: Sequence[str], fields: Collection[str]) -> Collection[str]:
    """The fields that an update changes, `tags.KEY` among them.

    Raises:
        InvalidArgument: a path is none of a changeable field.
    """
    raise_violations(
        [
            FieldViolation(
                "update_mask",
                f"{path!r} cannot be changed; what can is {', '.join(fields)} and tags.KEY",
                "UPDATE_MASK",
            )
            for path in paths
            if path not in fields and not (path.startswith(_TAG) and len(path) > len(_TAG))
        ]
    )
    return paths or fields


def change_tags(
    resource: Model | ModelVersion, wanted: Mapping[str, str], paths: Collection[str]
) -> Iterator[ModelEvent]:
    """Changes tags as the mask says; yields what that is in the history.

    Raises:
        InvalidArgument: they would be too many.
    """
    before = dict(resource.tags)
    after = dict(wanted) if "tags" in paths else dict(before)
    for key in (path.removeprefix(_TAG) for path in paths if path.startswith(_TAG)):
        if key in wanted:
            after[key] = wanted[key]
        else:
            after.pop(key, None)
    if len(after) > GREATEST_TAGS:
        text = f"it would have {len(after)} tags; at most {GREATEST_TAGS} are allowed"
        raise InvalidArgument(violations=[FieldViolation("update_mask", text, "TOO_MANY")])
    resource.tags.clear()
    resource.tags.update(after)
    number = resource.number if isinstance(resource, ModelVersion) else 0
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old != new:
            yield ModelEvent(
                type="TagRemoved" if new is None else "TagSet",
                version=number,
                tag=key,
                from_value=old or "",
                to_value=new or "",
            )


def set_stage(version: ModelVersion, stage: str, now: Timestamp) -> ModelEvent:
    """Moves a version to another stage; returns what that is in the history."""
    event = ModelEvent(
        type="StageChanged", version=version.number, from_value=version.stage, to_value=stage
    )
    version.stage = stage
    version.stage_time.CopyFrom(now)
    return event


def alias_message(name: AliasName, number: int, since: Timestamp) -> ModelAlias:
    """An alias that refers to a version."""
    return ModelAlias(
        name=str(name),
        model_version=str(VersionName(name.team, name.model, number)),
        number=number,
        update_time=since,
    )


def response(resource: Model | ModelVersion | ModelAlias) -> bytes:
    """Every response that holds one resource holds it in field 1."""
    return wire.length_delimited(1, resource.SerializeToString())
