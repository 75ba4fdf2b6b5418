"""Hears from the database when another server has committed something."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

import psycopg
from psycopg.pq.abc import PGconn

from subgrpc.errors import SubgrpcError
from subgrpc.metastore.postgres_connect import ANSWER_SECONDS, Server
from subgrpc.metastore.postgres_writer import CHANNEL

_PAUSE: Final = 0.5


class PostgresListener:
    """See `subgrpc.metastore.database.Listener`."""

    def __init__(self, server: Server, mark: str) -> None:
        """For notifications of writers with another mark."""
        self._server = server
        self._mark = mark

    async def listen(self, ring: Callable[[], None]) -> None:
        """Calls `ring` after each commit of another server, and each time it has (re)connected."""
        while True:
            try:
                connection = await self._server.connection_async()
            except SubgrpcError:
                await asyncio.sleep(_PAUSE)
                continue
            try:
                await self._hear(connection, ring)
            except (psycopg.Error, asyncio.TimeoutError):
                await asyncio.sleep(_PAUSE)
            finally:
                with contextlib.suppress(psycopg.Error):
                    await connection.close()

    async def _hear(
        self, connection: psycopg.AsyncConnection[Any], ring: Callable[[], None]
    ) -> None:
        while True:
            # Also after a while of silence: a dead connection is as silent as an idle one.
            await asyncio.wait_for(connection.execute(f"LISTEN {CHANNEL}"), ANSWER_SECONDS)
            ring()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._lost(connection.pgconn, ring), ANSWER_SECONDS)

    async def _lost(self, connection: PGconn, ring: Callable[[], None]) -> None:
        """Calls `ring` until the connection breaks, which it raises.

        Not by psycopg's generator: own commits ring as well, often, and each costs it several
        times what it costs here.
        """
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[None] = loop.create_future()

        def readable() -> None:
            try:
                connection.consume_input()
                while (note := connection.notifies()) is not None:
                    if note.extra != self._mark.encode():
                        ring()
            except psycopg.Error as error:
                loop.remove_reader(socket)
                lost.set_exception(error)

        socket = connection.socket
        loop.add_reader(socket, readable)
        try:
            await lost
        finally:
            loop.remove_reader(socket)
