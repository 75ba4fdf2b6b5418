"""Spans of time as values of options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    _FloatType = click.ParamType[float]
else:  # not generic at run time before click 8.3
    _FloatType = click.ParamType


class _Span(_FloatType):
    """A span of time such as `90s` or `1h30m`; the command gets seconds."""

    name = "span"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        from subgrpc.spec.durations import parse_duration

        try:
            return parse_duration(str(value)) / 1e9
        except ValueError as error:
            self.fail(str(error), param, ctx)


SPAN = _Span()
