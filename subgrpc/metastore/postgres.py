"""PostgreSQL: how its database is made, checked and migrated, also by several servers at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import psycopg
import structlog
from sqlalchemy import create_engine, text
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from subgrpc import names
from subgrpc.errors import DataLoss, Unavailable
from subgrpc.metastore import schema
from subgrpc.metastore.database import Opened
from subgrpc.metastore.postgres_connect import RETRY_AFTER, Server
from subgrpc.metastore.postgres_listener import PostgresListener
from subgrpc.metastore.postgres_reader import PostgresReader
from subgrpc.metastore.postgres_writer import PostgresWriter
from subgrpc.metastore.tables import table

DIALECT: Final = PGDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
JOURNALS: Final = "journals"
"""The folder of the data folder that holds something only while experiments exist."""
MIGRATION_LOCK: Final = 0x73756267727063
"""The advisory lock under which the schema is changed: "subgrpc"."""

_LIVE_AND_REFUSING: Final = "FATAL"
_PASSING_WORDS: Final = (
    "starting up",
    "shutting down",
    "recovery",
    "accepting",
    "too many",
    "slots",
)
_PAUSE: Final = 0.5
_log = structlog.get_logger(__name__)


def open_postgres(url: str, folder: Path, patience: float) -> Opened:
    """Opens a database: made, checked and migrated as needed.

    Args:
        url: what libpq takes.
        folder: the data folder, which is locked.
        patience: seconds to wait for a database that cannot be reached.

    Raises:
        InvalidArgument: DATABASE_URL_INVALID.
        DataLoss: METASTORE_DAMAGED, it is empty or another program's, but was not.
        FailedPrecondition: SCHEMA_TOO_NEW, DATABASE_UNFIT.
        Unavailable: METASTORE_UNAVAILABLE, it cannot be reached.
    """
    server = Server(url)
    if not schema.is_current(_version(server, folder, patience), server.name):
        try:
            _migrate(server)
        except (psycopg.Error, DBAPIError) as error:
            raise _unreachable(server, error) from error
    mark = names.new_uid()
    return Opened(
        PostgresWriter(server, mark), PostgresReader(server), PostgresListener(server, mark)
    )


def _version(server: Server, folder: Path, patience: float) -> str | None:
    """The version of the schema; None: there is none yet."""
    deadline = time.monotonic() + patience
    told = False
    while True:
        try:
            with server.connection() as connection:
                return _look(server, connection, folder)
        except psycopg.Error as error:
            if _is_final(error) or time.monotonic() > deadline:
                raise _unreachable(server, error) from error
            if not told:
                problem = str(error).strip()
                _log.warning("metastore.waiting", database=server.name, error=problem)
                told = True
        time.sleep(_PAUSE)


def _look(
    server: Server, connection: psycopg.Connection[tuple[object, ...]], folder: Path
) -> str | None:
    tables = "SELECT to_regclass('alembic_version')::text, to_regclass('meta')::text"
    row = connection.execute(tables).fetchone()
    found = row is not None and row[0] is not None
    if row is not None and found is not (row[1] is not None):
        raise _foreign(server, "it has tables of the same names that are not subgrpc's")
    if not found:
        journals = folder / JOURNALS
        if journals.is_dir() and any(journals.iterdir()):
            raise _foreign(server, f"it is empty, but output of its experiments is in {journals}")
        return None
    version = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if version is None else str(version[0])


def _migrate(server: Server) -> None:
    """Makes or migrates the schema, unless another server has just done so."""
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: server.connection(autocommit=False),
        poolclass=NullPool,
    )
    with engine.begin() as bound:
        bound.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
        if not schema.is_current(_current(bound), server.name):
            schema.migrate(bound)
        if bound.execute(table("meta").select()).first() is None:
            columns = [column.name for column in table("meta").columns]
            row = dict(zip(columns, schema.first_row(), strict=True))
            bound.execute(table("meta").insert().values(**row))


def _current(bound: Connection) -> str | None:
    found: str | None = None
    if bound.execute(text("SELECT to_regclass('alembic_version')::text")).scalar() is not None:
        found = bound.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _is_final(error: psycopg.Error) -> bool:
    """Whether the server is there, and will say the same again: libpq gives no code for it."""
    said = str(error)
    return _LIVE_AND_REFUSING in said and not any(word in said for word in _PASSING_WORDS)


def _unreachable(server: Server, error: BaseException) -> Unavailable:
    return Unavailable(
        f"the metastore in {server.name} cannot be opened: {str(error).strip()}",
        reason="METASTORE_UNAVAILABLE",
        retry_after=RETRY_AFTER,
    )


def _foreign(server: Server, problem: str) -> DataLoss:
    return DataLoss(
        f"the metastore in {server.name} is not what it was: {problem}. It was left as it is: "
        "restore a backup, name the right database, or use another data folder",
        reason="METASTORE_DAMAGED",
    )
