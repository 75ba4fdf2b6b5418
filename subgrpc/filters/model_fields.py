"""What filters may name of the model registry, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from subgrpc.filters.fields import FilterField, Kind, micros
from subgrpc.v1.model_registry_service_pb2 import Model, ModelVersion

STAGES: Final = ("None", "Staging", "Production", "Archived")
"""The stages that everybody has; they are read in any case."""
MODEL_KIND: Final = 1
VERSION_KIND: Final = 2

_BY_LOWER = {each.lower(): each for each in STAGES}


def stage_name(text: str) -> str:
    """The name of a stage as it is stored."""
    return _BY_LOWER.get(text.lower(), text)


def _text(name: str, read: Callable[[Any], str] | None = None) -> FilterField:
    return FilterField(name, Kind.STRING, read or (lambda it: getattr(it, name)))


def _number(name: str) -> FilterField:
    return FilterField(name, Kind.NUMBER, lambda it: getattr(it, name))


def _time(name: str) -> FilterField:
    def read(message: Any) -> int | None:
        return micros(getattr(message, name)) if message.HasField(name) else None

    return FilterField(name, Kind.TIME, read)


def _by_name(*fields: FilterField) -> Mapping[str, FilterField]:
    return {each.name: each for each in fields}


_TIMES = (_time("create_time"), _time("update_time"))
_TAGS = FilterField("tags", Kind.MAP, lambda it: it.tags)
_ALIAS = FilterField("alias", Kind.SET, lambda it: it.aliases)

MODEL_FIELDS: Final = _by_name(
    _text("model_id", lambda it: it.name.split("/")[3]),
    _text("uid"),
    _text("creator"),
    _text("display_name"),
    _number("latest_version"),
    _ALIAS,
    *_TIMES,
    _TAGS,
)
"""What a filter over models may name."""

VERSION_FIELDS: Final = _by_name(
    _text("model_id", lambda it: it.name.split("/")[3]),
    _number("number"),
    _text("uid"),
    FilterField("stage", Kind.STRING, lambda it: it.stage, adapt=stage_name),
    _text("creator"),
    _text("framework", lambda it: it.framework.name),
    _text("artifact"),
    _text("experiment", lambda it: it.lineage.experiment),
    _ALIAS,
    *_TIMES,
    _TAGS,
    FilterField("metrics", Kind.NUMBERS, lambda it: it.metrics),
)
"""What a filter over versions may name."""

EVENT_FIELDS: Final = _by_name(
    _number("sequence"),
    _text("type"),
    _text("actor"),
    _number("version"),
    _text("alias"),
    _time("time"),
)
"""What a filter over a model's history may name."""


def _either(name: str) -> FilterField:
    """A field of models, of versions, or of both; one that a message lacks is not there."""
    fields = {
        Model: MODEL_FIELDS.get(name),
        ModelVersion: VERSION_FIELDS.get(name),
    }
    shape = next(each for each in fields.values() if each is not None)
    absent: Any = {} if shape.kind in (Kind.MAP, Kind.NUMBERS, Kind.SET) else None

    def read(message: Any) -> Any:
        found = fields[type(message)]
        return absent if found is None else found.read(message)

    return FilterField(name, shape.kind, read, adapt=shape.adapt)


WATCH_FIELDS: Final = _by_name(
    FilterField(
        "kind",
        Kind.ENUM,
        lambda it: MODEL_KIND if isinstance(it, Model) else VERSION_KIND,
        {"MODEL": MODEL_KIND, "VERSION": VERSION_KIND},
    ),
    *(_either(name) for name in dict.fromkeys((*MODEL_FIELDS, *VERSION_FIELDS))),
)
"""What a filter over models and versions together may name."""
