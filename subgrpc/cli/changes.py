"""Prints the changes of a watch: a table that grows, lines of JSON, documents of YAML, names."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

from subgrpc.cli import output
from subgrpc.cli.kinds import Kind

if TYPE_CHECKING:
    from google.protobuf.message import Message

T = TypeVar("T")


class ChangePrinter(Generic[T]):
    """Prints changes; the columns of its table get wider when something needs it."""

    def __init__(self, form: str, kind: Kind[T], resource: Callable[[Any], T]) -> None:
        """Takes the form, how resources look, and how a change's resource is got."""
        self._form = form
        self._kind = kind
        self._resource = resource
        self._columns = kind.shown(form)
        self._header = ["CHANGE", *(each.title for each in self._columns)]
        self._widths = [
            max(len(title), least)
            for title, least in zip(
                self._header, [8, *(each.least for each in self._columns)], strict=True
            )
        ]
        self._has_header = False

    def __call__(self, change: Message) -> None:
        """Prints a change, which has a `type`."""
        if self._form == "json":
            output.print_json_line(change)
        elif self._form == "yaml":
            output.print_yaml(change, one_of_many=True)
        elif self._form == "name":
            click.echo(self._kind.name(self._resource(change)))
        else:
            self._row(change)
        # Who reads it through a pipe reads it now.
        sys.stdout.flush()

    def _row(self, change: Any) -> None:
        from subgrpc.v1.experiment_service_pb2 import ChangeType

        word = output.enum_word(ChangeType.Name(change.type), "CHANGE_TYPE_")
        resource = self._resource(change)
        row = [word, *(output.clean(each.text(resource)) for each in self._columns)]
        self._widths = [max(w, output.width(t)) for w, t in zip(self._widths, row, strict=True)]
        if not self._has_header:
            self._has_header = True
            click.echo(output.table_line(self._header, self._header, self._widths))
        click.echo(output.table_line(self._header, row, self._widths))
