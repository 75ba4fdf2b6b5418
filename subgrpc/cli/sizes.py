"""Sizes in bytes as values of options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    _IntType = click.ParamType[int]
else:  # not generic at run time before click 8.3
    _IntType = click.ParamType


class _Size(_IntType):
    """A size such as `512Mi` or `20GB`, or 0; the command gets bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from subgrpc.quantities import parse_bytes

        try:
            return parse_bytes(str(value)) if str(value) != "0" else 0
        except ValueError as error:
            self.fail(str(error), param, ctx)


SIZE = _Size()
