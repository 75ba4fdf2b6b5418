"""SQLite: everything that would be otherwise with another database.

One connection writes, on the writer thread; one reads, on the event loop. WAL lets them not wait
for each other; synchronous=FULL makes a commit durable when it returns. A new database is made
under another name and renamed when it is whole, so that a file of that name which is empty, or no
database, is damage and never a beginning.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from pathlib import Path

from sqlalchemy import create_engine, event
from sqlalchemy.dialects import sqlite as sqlalchemy_sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from subgrpc.errors import DataLoss, SubgrpcError, Unavailable
from subgrpc.metastore import schema
from subgrpc.metastore.database import DatabaseFailed, Opened, Parameters, Refuse, Row, Taken
from subgrpc.metastore.statements import Statements

DATABASE_FILE = "metastore.db"
DIALECT = sqlalchemy_sqlite.dialect(paramstyle="qmark")
MAGIC = b"SQLite format 3\x00"
JOURNALS = "journals"
"""The folder beside the database that holds something only while experiments exist."""
BUSY_TIMEOUT = 2.0
"""Seconds to wait for a foreign program (a backup, a shell) that holds the database's lock."""
QUICK_CHECK_LIMIT = 256 << 20
"""Bytes up to which a database is checked whole at every start (0.3 s when cached)."""
RETRY_AFTER = 1.0


class SqliteWriter:
    """The writing connection: see `subgrpc.metastore.database.WriteDatabase`."""

    # It takes its turns at the interpreter from the event loop: the fewer commits the better.
    enough = 256

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def begin(self) -> None:
        """Takes the write lock at once, so that no later statement has to fail for it."""
        self.run("BEGIN IMMEDIATE")

    def commit(self, revision: int = 0) -> None:
        """Commits; with synchronous=FULL the log is on disk when this returns."""
        self.run("COMMIT")

    def rollback(self) -> None:
        """Rolls back, unless SQLite has done so by itself."""
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def savepoint(self) -> None:
        """Begins a part."""
        self.run("SAVEPOINT part")

    def release(self, refuse: Refuse) -> None:
        """Keeps the part, for certain."""
        self.run("RELEASE part")

    def undo(self) -> None:
        """Undoes the part."""
        self.run("ROLLBACK TO part")
        self.run("RELEASE part")

    def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Runs a query."""
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise _write_failure(error) from error

    def each(self, sql: str, parameters: Sequence[Parameters]) -> list[list[Row]]:
        """Runs a query for each set of parameters."""
        return [self.all(sql, each) for each in parameters]

    def returning(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Runs a statement that writes and has rows."""
        return self.all(sql, parameters)

    def run(self, sql: str, parameters: Parameters = (), taken: Taken | None = None) -> None:
        """Runs a statement at once."""
        try:
            self._connection.execute(sql, parameters)
        except sqlite3.IntegrityError as error:
            if taken is None or "UNIQUE" not in str(error):
                raise
            raise taken() from error
        except sqlite3.Error as error:
            raise _write_failure(error) from error

    def run_many(self, sql: str, parameters: Sequence[Parameters]) -> None:
        """Runs a statement repeatedly."""
        try:
            self._connection.executemany(sql, parameters)
        except sqlite3.Error as error:
            raise _write_failure(error) from error

    def close(self) -> None:
        """Closes; the last connection moves the write-ahead log into the database."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()


class SqliteReader:
    """The reading connection: see `subgrpc.metastore.database.ReadDatabase`.

    It reads at once, on the event loop: an indexed read takes microseconds, less than any way to
    another thread and back.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """The first row."""
        try:
            row: Row | None = self._connection.execute(sql, parameters).fetchone()
        except sqlite3.Error as error:
            raise _read_failure(error) from error
        return row

    async def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """All rows."""
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise _read_failure(error) from error

    async def rows(self, sql: str, parameters: Parameters = ()) -> AsyncGenerator[Row, None]:
        """Row by row; closing the iterator ends the statement and its snapshot."""
        try:
            with contextlib.closing(self._connection.execute(sql, parameters)) as cursor:
                for row in cursor:
                    yield row
        except sqlite3.Error as error:
            raise _read_failure(error) from error

    @contextlib.asynccontextmanager
    async def consistent(self) -> AsyncIterator[SqliteReader]:
        """A read transaction; nobody else gets between, since nothing here waits."""
        await self.all("BEGIN")
        try:
            yield self
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("COMMIT")

    async def close(self) -> None:
        """Closes."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()


def open_sqlite(folder: Path, statements: Statements) -> Opened:
    """Opens the database of a data folder that is locked: made, checked and migrated as needed.

    Raises:
        DataLoss: what is there is no database, damaged, or missing beside its log; it is left
            as it is.
        FailedPrecondition: SCHEMA_TOO_NEW.
        Unavailable: it cannot be opened or read now.
    """
    path = folder / DATABASE_FILE
    try:
        if path.exists():
            _migrate_if_needed(path, check(path))
        elif path.with_name(f"{DATABASE_FILE}-wal").exists():
            raise _damaged(path, "its write-ahead log is there, but not the database itself")
        elif _has_content(folder / JOURNALS):
            raise _damaged(path, "it is gone, but the output of its experiments is there")
        else:
            _create(path, statements)
        writer = connect(path)
        writer.execute("PRAGMA journal_mode=WAL").fetchall()
        writer.execute("PRAGMA synchronous=FULL")
        # What a savepoint needs to undo a part outgrows 64 KiB, and would go to a file.
        writer.execute("PRAGMA temp_store=MEMORY")
        writer.execute(f"PRAGMA journal_size_limit={64 << 20}")
        return Opened(SqliteWriter(writer), SqliteReader(connect(path, read_only=True)))
    except sqlite3.Error as error:
        raise mapped(error) from error
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise mapped(error.orig) from error
        raise
    except OSError as error:
        raise _unavailable(f"{path}: {error.strerror or error}") from error


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Opens a connection that begins no transaction by itself, for any one thread at a time."""
    mode = "ro" if read_only else "rw"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_TIMEOUT,
        cached_statements=256,
    )
    connection.execute("PRAGMA cache_size=-16384")
    return connection


def check(path: Path) -> str | None:
    """Looks whether a file is a whole database, without writing to it; returns its version.

    Raises:
        DataLoss: it is not.
    """
    if path.is_dir():
        raise _damaged(path, "it is a folder")
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise _damaged(path, "it is not an SQLite database")
    with contextlib.closing(connect(path, read_only=True)) as connection:
        if path.stat().st_size <= QUICK_CHECK_LIMIT:
            problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise _damaged(path, problem)
        return _version(path, connection)


def _version(path: Path, connection: sqlite3.Connection) -> str | None:
    tables = "SELECT count(*) FROM sqlite_master WHERE name IN ('alembic_version', 'meta')"
    if connection.execute(tables).fetchone()[0] != 2:
        raise _damaged(path, "it is an SQLite database, but not one of subgrpc")
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def _migrate_if_needed(path: Path, version: str | None) -> None:
    if schema.is_current(version, str(path)):
        return
    with _transaction(path) as connection:
        schema.migrate(connection)


@contextlib.contextmanager
def _transaction(path: Path) -> Iterator[Connection]:
    """A transaction of SQLAlchemy's, which holds the write lock from its beginning."""
    engine = create_engine("sqlite://", creator=lambda: connect(path), poolclass=NullPool)
    event.listen(engine, "begin", lambda bound: bound.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.begin() as bound:
        yield bound


def _create(path: Path, statements: Statements) -> None:
    """Makes a database under another name, and gives it its name once it is whole on disk."""
    unfinished = path.with_name(f"{DATABASE_FILE}.new")
    for leftover in path.parent.glob(f"{DATABASE_FILE}.new*"):
        leftover.unlink()
    os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with _transaction(unfinished) as connection:
        schema.migrate(connection)
        connection.exec_driver_sql(statements.insert_meta, schema.first_row())
    _sync(unfinished)
    unfinished.rename(path)
    _sync(path.parent)


def _has_content(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_failure(error: sqlite3.Error) -> Exception:
    """What a failed statement means: a failed database, or a mistake of ours."""
    found = mapped(error)
    return DatabaseFailed(found) if isinstance(found, SubgrpcError) else found


def _read_failure(error: sqlite3.Error) -> Exception:
    return mapped(error)


def mapped(error: sqlite3.Error) -> Exception:
    """The public form of an error; a mistake of ours stays what it is."""
    text = str(error)
    if "malformed" in text or "not a database" in text:
        return DataLoss(f"the metastore is damaged: {text}", reason="METASTORE_DAMAGED")
    if isinstance(error, sqlite3.OperationalError) or "closed" in text:
        return _unavailable(text)
    return error


def _unavailable(text: str) -> Unavailable:
    return Unavailable(
        f"the metastore cannot be used now: {text}",
        reason="METASTORE_UNAVAILABLE",
        retry_after=RETRY_AFTER,
    )


def _damaged(path: Path, problem: str) -> DataLoss:
    return DataLoss(
        f"the metastore {path} is damaged: {problem}. It was left as it is: restore a backup, or "
        "move the data folder away to begin anew",
        reason="METASTORE_DAMAGED",
        metadata={"path": str(path)},
    )
