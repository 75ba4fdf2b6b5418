"""How models, versions and their history look in a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from subgrpc import names
from subgrpc.cli import output
from subgrpc.cli.kinds import Column, Kind

if TYPE_CHECKING:
    from subgrpc.v1.model_registry_service_pb2 import (
        Model,
        ModelEvent,
        ModelField,
        ModelVersion,
    )


def short_model(name: str) -> str:
    """The shortest name that the command line takes for a model or a version of it."""
    short = name.removeprefix(f"{names.team_name(names.DEFAULT_TEAM)}/models/")
    if short == name:
        return name
    return short.replace("/versions/", "/").replace("/aliases/", "@")


def tags_text(resource: Model | ModelVersion) -> str:
    """The tags in one line."""
    return ", ".join(f"{key}={value}" for key, value in sorted(resource.tags.items()))


def aliases_text(resource: Model | ModelVersion) -> str:
    """The aliases in one line: of a model with the versions that they refer to."""
    if isinstance(resource.aliases, Mapping):
        return ", ".join(f"{alias}={number}" for alias, number in sorted(resource.aliases.items()))
    return ", ".join(resource.aliases)


def metrics_text(version: ModelVersion) -> str:
    """The metrics in one line."""
    return ", ".join(f"{key}={value:.6g}" for key, value in sorted(version.metrics.items()))


def framework_text(version: ModelVersion) -> str:
    """The framework with its version."""
    return " ".join(each for each in (version.framework.name, version.framework.version) if each)


def fields_text(fields: list[ModelField]) -> str:
    """Inputs, outputs or params in one line."""
    return ", ".join(
        f"{each.name}{': ' * bool(each.name)}{each.dtype}"
        + (f"[{', '.join('?' if n < 0 else str(n) for n in each.shape)}]" if each.shape else "")
        + ("?" if each.optional else "")
        for each in fields
    )


def made_of(version: ModelVersion) -> str:
    """What a version is made of: an output, or an artifact."""
    from subgrpc.cli.options import short_artifact, short_name

    lineage = version.lineage
    if lineage.experiment:
        return f"{short_name(lineage.experiment)}/{lineage.output}"
    return short_artifact(version.artifact)


def _stage(resource: Model | ModelVersion) -> str:
    return getattr(resource, "stage", "")


def _subject(event: ModelEvent) -> str:
    """What an entry is about: `@champion`, `version 3`, `version 3 tag k`."""
    if event.alias:
        return f"@{event.alias}"
    parts = (event.version and f"version {event.version}", event.tag and f"tag {event.tag}")
    return " ".join(each for each in parts if each)


MODELS: Kind[Model] = Kind(
    "models",
    lambda each: short_model(each.name),
    (
        Column("NAME", lambda each: short_model(each.name), least=20),
        Column("LATEST", lambda each: str(each.latest_version or "")),
        Column("ALIASES", aliases_text),
        Column("UPDATED", lambda each: output.when(each.update_time)),
        Column("DISPLAY NAME", lambda each: each.display_name),
        Column("VERSIONS", lambda each: str(each.version_count), wide=True),
        Column("CREATED", lambda each: output.when(each.create_time), wide=True),
        Column("CREATOR", lambda each: each.creator, wide=True),
        Column("TAGS", tags_text, wide=True),
    ),
)
VERSIONS: Kind[ModelVersion] = Kind(
    "modelVersions",
    lambda each: short_model(each.name),
    (
        Column("VERSION", lambda each: short_model(each.name)),
        Column("STAGE", lambda each: each.stage),
        Column("ALIASES", aliases_text),
        Column("METRICS", metrics_text),
        Column("MADE OF", made_of),
        Column("CREATED", lambda each: output.when(each.create_time)),
        Column("FRAMEWORK", framework_text, wide=True),
        Column("CREATOR", lambda each: each.creator, wide=True),
        Column("TAGS", tags_text, wide=True),
        Column("DESCRIPTION", lambda each: each.description, wide=True),
    ),
)
HISTORY: Kind[ModelEvent] = Kind(
    "events",
    lambda each: str(each.sequence),
    (
        Column("SEQUENCE", lambda each: str(each.sequence), wide=True),
        Column("TIME", lambda each: output.when(each.time)),
        Column("WHO", lambda each: each.actor),
        Column("WHAT", lambda each: each.type),
        Column("OF", _subject),
        Column("FROM", lambda each: each.from_value),
        Column("TO", lambda each: each.to_value),
        Column("WHY", lambda each: each.message),
    ),
)
WATCHED: Kind[Model | ModelVersion] = Kind(
    "changes",
    lambda each: short_model(each.name),
    (
        Column("NAME", lambda each: short_model(each.name), least=24),
        Column("STAGE", _stage, least=10),
        Column("ALIASES", aliases_text, least=16),
        Column("UPDATED", lambda each: output.when(each.update_time), least=19),
        Column("CREATOR", lambda each: each.creator, wide=True),
        Column("TAGS", tags_text, wide=True),
    ),
)
