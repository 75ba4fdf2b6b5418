"""How results are printed: tables for people, the API's own JSON for programs, notes on stderr."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

    from subgrpc.v1.experiment_service_pb2 import Experiment

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_COLOURED_COLUMNS: Final = ("STATE", "HEALTH")
_COLOURS: Final = {
    "QUEUED": "yellow",
    "STARTING": "cyan",
    "RUNNING": "cyan",
    "CANCELLING": "yellow",
    "CANCELLED": "yellow",
    "SUCCEEDED": "green",
    "HEALTHY": "green",
    "FAILED": "red",
    "UNHEALTHY": "red",
}


def note(text: str) -> None:
    """Says something on stderr that is no result."""
    click.echo(f"subgrpc: {text}", err=True)


def print_document(
    form: str, document: Any, *, name: str, text: Callable[[], None] | None = None
) -> None:
    """Prints one result in the form that was asked for.

    Args:
        form: json, yaml, name, table or wide.
        document: messages, and what JSON has.
        name: what `-o name` prints.
        text: prints the result for people; by default `name` is that.
    """
    if form == "json":
        print_json(document)
    elif form == "yaml":
        print_yaml(document)
    elif form == "name" or text is None:
        click.echo(name)
    else:
        text()


def print_json(value: Any) -> None:
    """Prints one JSON document; messages in it in protobuf's JSON mapping."""
    import json

    click.echo(json.dumps(_jsonable(value), indent=2, ensure_ascii=not _shows_everything()))


def print_yaml(value: Any, *, one_of_many: bool = False) -> None:
    """Prints the same as `print_json` as YAML; one of many starts with `---`."""
    import yaml

    text = yaml.safe_dump(
        _jsonable(value),
        sort_keys=False,
        allow_unicode=_shows_everything(),
        explicit_start=one_of_many,
    )
    click.echo(text, nl=False)


def print_json_line(message: Message) -> None:
    """Prints a message as one line."""
    from google.protobuf.json_format import MessageToJson

    click.echo(MessageToJson(message, indent=None, ensure_ascii=not _shows_everything()))


def _shows_everything() -> bool:
    """Whether stdout takes every character; else JSON and YAML have escapes of their own."""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _jsonable(value: Any) -> Any:
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.message import Message

    if isinstance(value, Message):
        return MessageToDict(value)
    if isinstance(value, dict):
        return {key: _jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(each) for each in value]
    return value


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under a header, columns aligned."""
    cells = [list(header), *([clean(each) for each in row] for row in rows)]
    widths = [max(width(row[column]) for row in cells) for column in range(len(header))]
    click.echo("\n".join(table_line(header, row, widths) for row in cells))


def table_line(header: Sequence[str], row: Sequence[str], widths: Sequence[int]) -> str:
    """One line of a table; states in colour where that is wanted."""
    padded = [cell + " " * (n - width(cell)) for cell, n in zip(row, widths, strict=True)]
    padded[-1] = padded[-1].rstrip()
    if not coloured():
        return "  ".join(padded).rstrip()
    return "  ".join(
        click.style(text, fg=_COLOURS[cell])
        if title in _COLOURED_COLUMNS and cell in _COLOURS
        else text
        for title, cell, text in zip(header, row, padded, strict=True)
    ).rstrip()


def width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF")
        for each in text
    )


def coloured() -> bool:
    """Whether stdout is a terminal whose user has not asked for plain text (no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and sys.stdout.isatty()


def interactive() -> bool:
    """Whether there is somebody to answer a question: it is asked on stderr."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Prints names and values; those without a value are left out."""
    shown = [(name, clean(value)) for name, value in facts if value]
    room = max((len(name) for name, _ in shown), default=0) + 1
    for name, value in shown:
        text = value
        if name.upper() in _COLOURED_COLUMNS and value in _COLOURS and coloured():
            text = click.style(value, fg=_COLOURS[value])
        click.echo(f"{name + ':':<{room}}  {text}")


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
    return between(experiment.start_time, experiment.end_time)


def between(start: Timestamp, end: Timestamp) -> str:
    """The time from start to end, or to now; nothing before the start."""
    import time

    first = start.ToNanoseconds()
    if not first:
        return ""
    last = end.ToNanoseconds() or time.time_ns()
    return span(max(last - first, 0) / 1e9)


def span(seconds: float) -> str:
    """A span of time for people: `0.4 s`, `1 min 05 s`, `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
