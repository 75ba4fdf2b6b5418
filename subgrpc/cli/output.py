"""How results are printed: tables for people, the API's own JSON for programs, notes on stderr."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

    from subgrpc.v1.experiment_service_pb2 import Experiment

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def note(text: str) -> None:
    """Says something on stderr that is no result."""
    click.echo(f"subgrpc: {text}", err=True)


def print_json(value: Any) -> None:
    """Prints one JSON document; messages in it in protobuf's JSON mapping."""
    import json

    click.echo(json.dumps(_jsonable(value), indent=2, ensure_ascii=False))


def print_json_line(message: Message) -> None:
    """Prints a message as one line."""
    from google.protobuf.json_format import MessageToJson

    click.echo(MessageToJson(message, indent=None, ensure_ascii=False))


def _jsonable(value: Any) -> Any:
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.message import Message

    if isinstance(value, Message):
        return MessageToDict(value)
    if isinstance(value, dict):
        return {key: _jsonable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_jsonable(each) for each in value]
    return value


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under a header, columns aligned."""
    cells = [list(header), *([clean(each) for each in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
    click.echo("\n".join(lines))


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Prints names and values; those without a value are left out."""
    shown = [(name, clean(value)) for name, value in facts if value]
    width = max((len(name) for name, _ in shown), default=0) + 1
    for name, value in shown:
        click.echo(f"{name + ':':<{width}}  {value}")


def clean(text: str) -> str:
    """A text without control characters, which could drive the terminal."""
    return _CONTROL.sub(" ", text)


def state_word(experiment: Experiment) -> str:
    """The experiment's state as people say it: `RUNNING`."""
    from subgrpc.v1.experiment_service_pb2 import ExperimentState

    return enum_word(ExperimentState.Name(experiment.state), "EXPERIMENT_STATE_")


def enum_word(name: str, prefix: str) -> str:
    """An enum value's name without its prefix."""
    return name.removeprefix(prefix)


def when(time: Timestamp) -> str:
    """A point in time in the user's time zone; nothing if it is unset."""
    if not time.ToNanoseconds():
        return ""
    return datetime.fromtimestamp(time.seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def took(experiment: Experiment) -> str:
    """How long the current attempt has run, or ran; nothing before it does."""
    import time

    start = experiment.start_time.ToNanoseconds()
    if not start:
        return ""
    end = experiment.end_time.ToNanoseconds() or time.time_ns()
    return span(max(end - start, 0) / 1e9)


def span(seconds: float) -> str:
    """A span of time for people: `0.4 s`, `1 min 05 s`, `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
