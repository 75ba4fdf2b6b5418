"""Compiles statements once, for one dialect: see `statements`."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Dialect


def compiled(statement: Any, dialect: Dialect, parameters: tuple[str, ...] | None = None) -> str:
    """Compiles a statement.

    Args:
        statement: of SQLAlchemy.
        dialect: with a positional parameter style.
        parameters: the names of its parameters, in the order in which it must take them.
    """
    found = statement.compile(dialect=dialect)
    order = tuple(found.positiontup or ())
    assert parameters is None or order == parameters, (order, parameters, str(found))
    return str(found)
