"""The metastore for who looks after it: read, copied, and given a new history. No server needed.

`subgrpc.metastore.store` is for servers.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from subgrpc import names
from subgrpc.errors import FailedPrecondition, NotFound, Unavailable
from subgrpc.metastore import schema
from subgrpc.metastore.audit import Problem
from subgrpc.metastore.sqlite import DATABASE_FILE, check, connect, mapped
from subgrpc.metastore.tables import table


class Place(NamedTuple):
    """Where a metastore is.

    Attributes:
        folder: the data folder.
        database: the URL of its PostgreSQL database; empty: SQLite in the folder.
    """

    folder: Path
    database: str = ""

    def __str__(self) -> str:
        """For messages; nothing secret."""
        return "the database" if self.database else str(self.folder / DATABASE_FILE)


@contextlib.contextmanager
def reading(place: Place) -> Iterator[Connection]:
    """A metastore at one moment, though servers may be writing it.

    Raises:
        NotFound: there is none.
        DataLoss: it is damaged.
        FailedPrecondition: its schema is not of this version.
        Unavailable: it cannot be reached.
    """
    with _transaction(place, read_only=True) as connection:
        yield connection


def damage(folder: Path) -> Iterator[Problem]:
    """What SQLite finds wrong with the file itself; reads all of it."""
    path = _existing(folder)
    with _in_words(), contextlib.closing(connect(path, read_only=True)) as connection:
        for (problem,) in connection.execute("PRAGMA integrity_check(100)"):
            if problem != "ok":
                yield Problem("DATABASE", str(path), problem)


def begin_history(place: Place) -> str:
    """Gives a metastore that no server has open another history id, and returns it.

    Tokens of before are refused from then on: what they stand for may never have happened here.
    Raises as `reading`.
    """
    history = names.new_uid()
    with _transaction(place) as connection:
        connection.execute(update(table("meta")).values(history_id=history, restored=1))
    return history


def confirm(place: Place) -> bool:
    """Says that a restored metastore is the truth; False: it was not restored, or is confirmed.

    Raises as `reading`.
    """
    meta = table("meta")
    with _transaction(place) as connection:
        restored = update(meta).where(meta.c.restored == 1)
        return connection.execute(restored.values(restored=0)).rowcount > 0


def copy(folder: Path, target: Path) -> None:
    """Copies the metastore of a data folder, as it is at one moment, to a file that is not there.

    Servers are not held up: they write on meanwhile. The copy is on the disk when this returns.

    Raises:
        OSError: there is no room for the copy.
    """
    with (
        _in_words(),
        contextlib.closing(connect(_existing(folder), read_only=True)) as source,
        contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copied,
    ):
        # All in one step: in several it would begin again whenever a server writes.
        try:
            source.backup(copied)
            copied.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.OperationalError as error:
            if "full" not in str(error):
                raise
            # Of the metastore itself nothing is written.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
    with target.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _transaction(place: Place, *, read_only: bool = False) -> Iterator[Connection]:
    """A transaction that sees one state, on a metastore of this version."""
    with _in_words():
        engine = _postgres(place.database) if place.database else _sqlite(place.folder, read_only)
        isolation = {"isolation_level": "REPEATABLE READ"} if place.database else {}
        with engine.connect().execution_options(**isolation) as connection, connection.begin():
            if not schema.is_current(_version(place, connection), str(place)):
                raise FailedPrecondition(
                    f"{place} is of an older version: start this server on it once",
                    reason="SCHEMA_TOO_OLD",
                    metadata={"place": str(place)},
                )
            yield connection


def _sqlite(folder: Path, read_only: bool) -> Engine:
    path = _existing(folder)
    check(path)
    engine = create_engine(
        "sqlite://", creator=lambda: connect(path, read_only=read_only), poolclass=NullPool
    )
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"
    event.listen(engine, "begin", lambda bound: bound.exec_driver_sql(begin))
    return engine


def _postgres(database: str) -> Engine:
    try:
        from subgrpc.metastore.postgres_connect import Server
    except ImportError as error:
        message = "PostgreSQL needs the extra `postgres`: pip install 'subgrpc[postgres]'"
        raise FailedPrecondition(message, reason="DATABASE_NOT_INSTALLED") from error
    server = Server(database)
    return create_engine(
        "postgresql+psycopg://",
        creator=lambda: server.connection(autocommit=False),
        poolclass=NullPool,
    )


def _version(place: Place, connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        raise _not_found(str(place))
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """Errors of the database as those of subgrpc."""
    try:
        yield
    except sqlite3.Error as error:
        raise mapped(error) from error
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise mapped(error.orig) from error
        message = f"the metastore cannot be used now: {str(error.orig).strip()}"
        raise Unavailable(message, reason="METASTORE_UNAVAILABLE", retry_after=1.0) from error


def _existing(folder: Path) -> Path:
    path = folder / DATABASE_FILE
    if not path.exists():
        raise _not_found(str(folder))
    return path


def _not_found(where: str) -> NotFound:
    return NotFound(
        f"there is no metastore in {where}",
        reason="METASTORE_NOT_FOUND",
        metadata={"place": where},
    )
