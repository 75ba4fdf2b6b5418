"""What is sent to PostgreSQL on behalf of mutations, and what takes its place if it is refused.

What several mutations insert into one table travels as one statement of many rows: a statement
costs the database, libpq and the interpreter's lock several times what a row does. If such a batch
is refused, it is undone and sent again a mutation at a time, so that only those are refused that
have to be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final, NamedTuple

from subgrpc.metastore.database import Parameters, Refuse, Taken
from subgrpc.metastore.postgres_session import NOTHING, Encoded, encoded

ROWS: Final = (64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
"""How many rows a statement inserts: few sizes, because each is prepared on its own."""

_INSERT: Final = re.compile(r"(INSERT INTO .* VALUES )\(\$1(?:, \$\d+)*\)")


class Statement(NamedTuple):
    """A statement of a mutation; `taken` makes the error of a key that another row has."""

    sql: str
    parameters: Parameters
    taken: Taken | None = None


class Part:
    """What one mutation writes.

    Attributes:
        statements: those that wait for the mutation's end, or its first query.
        begun: they are being sent; those that follow join them.
        refuse: who is told that it cannot be kept; None: it is not over yet.
    """

    def __init__(self) -> None:
        self.statements: list[Statement] = []
        self.begun = False
        self.refuse: Refuse | None = None

    def commands(self) -> Iterator[Command]:
        """Its savepoint and the statements behind it."""
        yield Command(_SAVEPOINT, part=self)
        for each in self.statements:
            yield Command(each.sql, encoded(each.parameters), each.taken, self)


class Batch:
    """Mutations that are over and did nothing but insert: their order makes no difference."""

    def __init__(self) -> None:
        self.parts: list[Part] = []

    def commands(self) -> Iterator[Command]:
        """All of them at once."""
        if len(self.parts) == 1:
            yield from self.single_commands()
            return
        rows: dict[str, list[Parameters]] = {}
        for part in self.parts:
            for each in part.statements:
                rows.setdefault(each.sql, []).append(each.parameters)
        yield Command(_SAVEPOINT, part=self)
        for sql, found in rows.items():
            yield from repeated(sql, found, self)
        yield Command(RELEASE, part=self)

    def single_commands(self) -> Iterator[Command]:
        """One mutation after the other."""
        for part in self.parts:
            yield from part.commands()
            yield Command(RELEASE, part=part)


class Command(NamedTuple):
    """A statement as it is sent, and what is undone if it is refused; None: everything."""

    sql: str
    parameters: Encoded = NOTHING
    taken: Taken | None = None
    part: Part | Batch | None = None


RELEASE: Final = "RELEASE part"
UNDO: Final = (Command("ROLLBACK TO part"), Command(RELEASE))
_SAVEPOINT: Final = "SAVEPOINT part"


def only_inserts(statements: Sequence[Statement]) -> bool:
    """Whether they can be part of a batch."""
    return all(_head(each.sql) for each in statements)


def repeated(sql: str, rows: Sequence[Parameters], part: Part | Batch | None) -> Iterator[Command]:
    """Runs a statement for each set of parameters; an insert for many at once."""
    if not _head(sql):
        yield from (Command(sql, encoded(row), part=part) for row in rows)
        return
    done = 0
    for count in ROWS:
        while len(rows) - done >= count:
            values = [value for row in rows[done : done + count] for value in row]
            yield Command(_insert_of(sql, count, len(rows[done])), encoded(values), part=part)
            done += count


@cache
def _head(sql: str) -> str:
    """An insert of one row up to its values; empty: it is something else."""
    found = _INSERT.fullmatch(sql)
    return found[1] if found else ""


@cache
def _insert_of(sql: str, count: int, width: int) -> str:
    """An insert of so many rows of so many columns."""
    numbers = iter(range(1, count * width + 1))
    rows = (", ".join(f"${next(numbers)}" for _ in range(width)) for _ in range(count))
    return _head(sql) + ", ".join(f"({row})" for row in rows)
