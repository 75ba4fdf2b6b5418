"""A TCP proxy before PostgreSQL that can cut, hold back, and choose the moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit, urlunsplit

Judge = Callable[[bytes], bool]


class Proxy:
    """Forwards bytes both ways, until it is told otherwise."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self._parts = parts
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self.cut_before: Judge = lambda data: False
        self.cut_after: Judge = lambda data: False
        self.refusing = False
        self._open = asyncio.Event()
        self._open.set()
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        place = self._parts._replace(netloc=f"{self._parts.username}@127.0.0.1:{port}")
        self.url = urlunsplit(place)

    def cut(self) -> None:
        """Ends every connection."""
        for pair in self._pairs:
            for writer in pair:
                writer.transport.abort()

    def swallow(self) -> None:
        """From now on nothing is forwarded, as if packets were lost."""
        self._open.clear()

    def forward(self) -> None:
        self._open.set()

    async def stop(self) -> None:
        self.forward()
        self._server.close()
        self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        back_reader, back_writer = await asyncio.open_connection(*self._target)
        pair = (writer, back_writer)
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._copy(reader, back_writer, judged=True), self._copy(back_reader, writer)
            )
        finally:
            self._pairs.discard(pair)
            for each in pair:
                each.transport.abort()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, judged: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._open.wait()
                if judged and self.cut_before(data):
                    self.cut()
                    return
                writer.write(data)
                await writer.drain()
                if judged and self.cut_after(data):
                    # Long enough for the server to carry it out, whose answer comes to nobody.
                    self._open.clear()
                    await asyncio.sleep(0.3)
                    self.cut()
                    self._open.set()
                    return
        writer.transport.abort()


@contextlib.asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    """A proxy before a database."""
    proxy = Proxy(url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
