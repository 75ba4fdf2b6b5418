"""Connections that somebody between (a firewall, a NAT) has forgotten: packets go nowhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from subgrpc.client import Client
from tests.e2e.conftest import Cli


class Firewall:
    """Passes connections on, and swallows all that is sent on those that it has forgotten."""

    def __init__(self, address: str) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._known: set[int] = set()
        self._count = 0
        self.address = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def forget(self) -> None:
        self._known.clear()

    def stop(self) -> None:
        self._server.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, int(self._port))
        self._count += 1
        number = self._count
        self._known.add(number)
        try:
            await asyncio.gather(
                self._carry(number, reader, back), self._carry(number, there, writer)
            )
        finally:
            for each in (writer, back):
                each.transport.abort()

    async def _carry(
        self, number: int, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        while data := await source.read(65536):
            if number in self._known:
                sink.write(data)
                await sink.drain()
        sink.transport.abort()


@pytest.fixture
async def firewall(own: Cli) -> AsyncIterator[Firewall]:
    await asyncio.to_thread(own.up)
    made = Firewall(own.env["SUBGRPC_ADDRESS"])
    await made.start()
    yield made
    made.stop()


async def test_a_call_on_a_forgotten_connection_comes_through(firewall: Firewall) -> None:
    """On another connection, before it times out; the caller is not told."""
    with Client(firewall.address) as client:
        before = await asyncio.to_thread(lambda: list(client.list_clusters()))
        firewall.forget()
        began = time.monotonic()
        assert await asyncio.to_thread(lambda: list(client.list_clusters())) == before
        assert time.monotonic() - began > 1, "it had been forgotten"
