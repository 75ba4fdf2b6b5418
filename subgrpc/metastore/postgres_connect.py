"""How PostgreSQL is reached: limits of time everywhere, nothing secret in any message."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from subgrpc.errors import FailedPrecondition, InvalidArgument, Unavailable
from subgrpc.metastore.postgres_session import ServerError, Session

CONNECT_SECONDS: Final = 3
ANSWER_SECONDS: Final = 5.0
"""What takes longer is given up with its connection: a network that swallows packets is silent."""
RETRY_AFTER: Final = 1.0
OLDEST: Final = 130_000
"""The oldest PostgreSQL that is supported, as libpq numbers it: it has `pg_current_xact_id`."""

_DEFAULTS: Final[dict[str, Any]] = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "subgrpc",
    # After a failover the old primary may be back as a standby.
    "target_session_attrs": "read-write",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 5000,
}
_SETTINGS: Final = """
SET client_encoding = 'UTF8';
SET default_transaction_isolation = 'read committed';
SET statement_timeout = '4s';
SET lock_timeout = '3s';
SET idle_in_transaction_session_timeout = '5s';
SET tcp_keepalives_idle = 5;
SET tcp_keepalives_interval = 2;
SET tcp_keepalives_count = 2;
SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off'
"""
"""The revision row is a lock that all servers wait for: one that stalls must not hold it for long.
What is acknowledged is durable, whatever the database's default."""
_PASSING: Final = frozenset(
    (
        *("53", "58"),  # no room, no memory, no more connections; its disk fails
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "55P03",  # lock_not_available
        "57014",  # query_canceled: it took too long
        "25006",  # read_only_sql_transaction: it has become a standby
        "25P02",  # in_failed_sql_transaction
    )
)
"""SQLSTATEs, or their classes, of what may work later."""
_log = structlog.get_logger(__name__)


def conninfo(url: str) -> str:
    """What libpq is given: the URL, and limits of time where it has none.

    Raises:
        InvalidArgument: DATABASE_URL_INVALID.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        # libpq's message quotes the URL, and a URL can hold a password.
        text = "the database's URL cannot be read: postgresql://USER@HOST:PORT/DATABASE"
        raise InvalidArgument(text, reason="DATABASE_URL_INVALID") from None
    return make_conninfo(**{**_DEFAULTS, **given})


def described(url: str) -> str:
    """A database for messages: without user, password and options."""
    given = conninfo_to_dict(url)
    host = given.get("host") or given.get("hostaddr") or "its default host"
    port = f":{given['port']}" if given.get("port") else ""
    return f"PostgreSQL {given.get('dbname') or ''} on {host}{port}".replace("  ", " ")


class Server:
    """A PostgreSQL server (or several, of which one takes writes), and whether it answers."""

    def __init__(self, url: str) -> None:
        """For any number of connections. Raises InvalidArgument: DATABASE_URL_INVALID."""
        self._info = conninfo(url)
        self._answers = True
        self.name: Final = described(url)

    def connect(self) -> Session:
        """Connects, blocking.

        Raises:
            Unavailable: METASTORE_UNAVAILABLE, it cannot be reached, or not be used now.
            FailedPrecondition: DATABASE_UNFIT.
        """
        try:
            connection = self.connection()
            try:
                connection.execute(_SETTINGS)
            except psycopg.Error:
                connection.close()
                raise
        except psycopg.Error as error:
            raise self.failure(error) from error
        self._noted(None)
        return Session(connection)

    def connection(self, *, autocommit: bool = True) -> psycopg.Connection[Any]:
        """A connection as psycopg makes it, without limits for its statements."""
        connection = psycopg.connect(self._info, autocommit=autocommit)
        try:
            _check(connection.info)
        except FailedPrecondition:
            connection.close()
            raise
        return connection

    async def connect_async(self) -> Session:
        """Connects, on the event loop. Raises as `connect`."""
        return Session(await self.connection_async())

    async def connection_async(self) -> psycopg.AsyncConnection[Any]:
        """A connection as psycopg makes it, on the event loop, with all limits. Raises so, too."""
        try:
            # libpq limits the connecting to each host, but not what comes after it.
            return await asyncio.wait_for(self._connection_async(), 2 * CONNECT_SECONDS)
        except (psycopg.Error, asyncio.TimeoutError) as error:
            raise self.failure(error) from error

    async def _connection_async(self) -> psycopg.AsyncConnection[Any]:
        connection = await psycopg.AsyncConnection.connect(self._info, autocommit=True)
        try:
            _check(connection.info)
            await connection.execute(_SETTINGS)
        except BaseException:
            await connection.close()
            raise
        self._noted(None)
        return connection

    def failure(self, error: BaseException) -> Unavailable:
        """What callers are told of a database that cannot be used; the log is told why."""
        self._noted(error)
        return unavailable("its database does not answer")

    def _noted(self, error: BaseException | None) -> None:
        """Logs when it ceases to answer, and when it answers again."""
        answers = error is None
        if answers and not self._answers:
            _log.info("metastore.reached", database=self.name)
        elif self._answers and not answers:
            _log.warning("metastore.unreachable", database=self.name, error=str(error).strip())
        self._answers = answers


def unavailable(text: str) -> Unavailable:
    """What callers are told."""
    return Unavailable(
        f"the metastore cannot be used now: {text}",
        reason="METASTORE_UNAVAILABLE",
        retry_after=RETRY_AFTER,
    )


def mapped(error: ServerError) -> Exception:
    """The public form of what the server says; a mistake of ours stays what it is."""
    passing = error.sqlstate in _PASSING or error.sqlstate[:2] in _PASSING
    return unavailable(str(error)) if passing else error


def _check(info: psycopg.ConnectionInfo) -> None:
    version, encoding = info.server_version, info.parameter_status("server_encoding")
    if version < OLDEST:
        problem = f"it is version {version // 10_000}, and {OLDEST // 10_000} is needed"
    elif encoding != "UTF8":
        problem = f"its encoding is {encoding}, and must be UTF8"
    else:
        return
    text = f"this PostgreSQL database cannot be used: {problem}"
    raise FailedPrecondition(text, reason="DATABASE_UNFIT")
