"""What the metastore asks of a database: a connection that writes, and one that reads.

Everything that differs between databases is behind these two classes; `sqlite` has those of
SQLite. Statements are made by `statements`, with positional parameters.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol

from subgrpc.errors import SubgrpcError

Row = tuple[Any, ...]
Parameters = Sequence[Any]
Taken = Callable[[], Exception]
Refuse = Callable[[Exception], None]


class WriteDatabase(Protocol):
    """The connection of the writer thread.

    Attributes:
        enough: mutations after which a group waits for no more of them.

    Every method raises DatabaseFailed when the database itself cannot be used now; then the
    transaction is lost, and `rollback` makes the connection usable again.
    """

    @property
    def enough(self) -> int:
        """See above."""

    def begin(self) -> None:
        """Begins a transaction that will not have to give way to another one."""

    def commit(self, revision: int = 0) -> None:
        """Makes the transaction durable; returns once it is.

        Args:
            revision: the last that it made, of which other servers are told; 0: none.
        """

    def rollback(self) -> None:
        """Undoes the transaction, if there is one. Raises nothing."""

    def savepoint(self) -> None:
        """Begins the part of the transaction that `release` keeps and `undo` undoes."""

    def release(self, refuse: Refuse) -> None:
        """Keeps what was done since `savepoint`.

        Args:
            refuse: called, until `commit` returns, if it turns out that this cannot be kept; with
                what `run` was given as `taken`, say.
        """

    def undo(self) -> None:
        """Undoes what was done since `savepoint`."""

    def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Runs a query and returns its rows."""

    def each(self, sql: str, parameters: Sequence[Parameters]) -> list[list[Row]]:
        """Runs a query for each set of parameters, all at once, outside of any part."""

    def returning(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Runs a statement that writes, at once, and returns its rows."""

    def run(self, sql: str, parameters: Parameters = (), taken: Taken | None = None) -> None:
        """Runs a statement, at the latest when the next result is asked for.

        Args:
            sql: the statement.
            parameters: its parameters.
            taken: makes what is raised if another row has that key, here or by a later query, or
                what `release` is refused with. Without it that is a mistake of the caller's.
        """

    def run_many(self, sql: str, parameters: Sequence[Parameters]) -> None:
        """Runs a statement for each set of parameters."""

    def close(self) -> None:
        """Closes the connection."""


class ReadDatabase(Protocol):
    """What only reads, on the event loop; each statement sees the last committed state.

    Every method raises Unavailable, or DataLoss, when the database cannot be used now.
    """

    async def one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """The first row of a query, or None."""

    async def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """All rows of a query."""

    def rows(self, sql: str, parameters: Parameters = ()) -> AsyncGenerator[Row, None]:
        """The rows one by one, for a caller that may stop in between and then closes it."""

    def consistent(self) -> AbstractAsyncContextManager[ReadDatabase]:
        """A reader whose statements all see the same state: for a few milliseconds.

        Nothing but that reader may be awaited within.
        """

    async def close(self) -> None:
        """Closes the connection."""


class DatabaseFailed(Exception):
    """The database cannot be used now; `error` is what callers are told."""

    def __init__(self, error: SubgrpcError) -> None:
        super().__init__(error.message)
        self.error = error


class Listener(Protocol):
    """Hears when another server has committed something to the same database."""

    async def listen(self, ring: Callable[[], None]) -> None:
        """Calls `ring` then, until it is cancelled. One call may be lost, or come for nothing."""


class Opened(NamedTuple):
    """The connections of a database that is of the current schema.

    Attributes:
        listener: None: no other server can have it open.
    """

    writer: WriteDatabase
    reader: ReadDatabase
    listener: Listener | None = None
