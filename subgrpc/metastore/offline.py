"""The metastore for who looks after it: read, copied, and given a new history. No server needed.

`subgrpc.metastore.store` is for servers.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from subgrpc import names
from subgrpc.errors import FailedPrecondition, NotFound
from subgrpc.metastore import schema
from subgrpc.metastore.audit import Problem
from subgrpc.metastore.sqlite import DATABASE_FILE, check, connect, mapped


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[Connection]:
    """The metastore of a data folder at one moment, though a server may be writing it.

    Raises:
        NotFound: there is none.
        DataLoss: it is damaged.
        FailedPrecondition: its schema is not of this version.
    """
    path = _existing(folder)
    with _in_words():
        version = check(path)
    if not schema.is_current(version, str(path)):
        raise FailedPrecondition(
            f"the metastore {path} is of an older version: start this server on it once",
            reason="SCHEMA_TOO_OLD",
            metadata={"path": str(path)},
        )
    engine = create_engine(
        "sqlite://", creator=lambda: connect(path, read_only=True), poolclass=NullPool
    )
    event.listen(engine, "begin", lambda bound: bound.exec_driver_sql("BEGIN"))
    with _in_words(), engine.connect() as connection, connection.begin():
        yield connection


def damage(folder: Path) -> Iterator[Problem]:
    """What SQLite finds wrong with the file itself; reads all of it."""
    path = _existing(folder)
    with _in_words(), contextlib.closing(connect(path, read_only=True)) as connection:
        for (text,) in connection.execute("PRAGMA integrity_check(100)"):
            if text != "ok":
                yield Problem("DATABASE", str(path), text)


def copy(folder: Path, target: Path) -> None:
    """Copies the metastore of a data folder, as it is at one moment, to a file that is not there.

    Servers are not held up: they write on meanwhile. The copy is on the disk when this returns.
    """
    with (
        _in_words(),
        contextlib.closing(connect(_existing(folder), read_only=True)) as source,
        contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copied,
    ):
        # All in one step: in several it would begin again whenever a server writes.
        source.backup(copied)
        copied.execute("PRAGMA journal_mode=DELETE")
    with target.open("rb") as file:
        os.fsync(file.fileno())


def begin_history(path: Path) -> str:
    """Gives a metastore that no server has open another history id, and returns it.

    Tokens of before are refused from then on: what they stand for may never have happened here.
    """
    history = names.new_uid()
    with _in_words(), contextlib.closing(connect(path)) as connection:
        connection.execute("UPDATE meta SET history_id = ?, restored = 1", (history,))
    return history


def confirm(folder: Path) -> bool:
    """Says that a restored metastore is the truth; False: it was not restored, or is confirmed."""
    with _in_words(), contextlib.closing(connect(_existing(folder))) as connection:
        confirmed = connection.execute("UPDATE meta SET restored = 0 WHERE restored = 1")
        return confirmed.rowcount > 0


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
        raise


def _existing(folder: Path) -> Path:
    path = folder / DATABASE_FILE
    if not path.exists():
        text = f"there is no metastore in {folder}"
        raise NotFound(text, reason="METASTORE_NOT_FOUND", metadata={"path": str(path)})
    return path
