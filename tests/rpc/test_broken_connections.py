"""Callers whose connection breaks: no mistake of ours, and nobody to be told."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
import pytest

from subgrpc.rpc import register
from subgrpc.v1 import experiment_service_pb2 as pb
from subgrpc.v1.experiment_service_pb2_grpc import ExperimentServiceStub


class Cable:
    """A way to a server that can be clogged and cut."""

    def __init__(self, address: str) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._flow = asyncio.Event()
        self._flow.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def lay(self) -> str:
        """Returns the address of its other end."""
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def clog(self) -> None:
        """From now on nothing of the server comes through."""
        self._flow.clear()

    def cut(self) -> None:
        """Resets the connections of both sides."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, int(self._port))
        self._writers += [writer, back]
        for source, sink, held in ((reader, back, False), (there, writer, True)):
            task = asyncio.ensure_future(self._carry(source, sink, held=held))
            self._tasks.add(task)

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, held: bool
    ) -> None:
        while data := await source.read(65536):
            if held:
                await self._flow.wait()
            sink.write(data)


async def test_a_connection_that_breaks_below_a_frame_is_no_incident(
    server: Any, api: Any, backend: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    incidents: list[Exception] = []
    told = register.as_incident
    monkeypatch.setattr(
        register, "as_incident", lambda error: incidents.append(error) or told(error)
    )
    made = await api.create()
    await backend.observe(made.uid, "RUNNING")
    cable = Cable(server.addresses[0])
    async with grpc.aio.insecure_channel(await cable.lay()) as channel:
        request = pb.StreamLogsRequest(name=made.name, follow=True)
        calls = [ExperimentServiceStub(channel).StreamLogs(request) for _ in range(20)]
        backend.backend.write((made.uid, 1), "main", 0, b"first\n")
        for call in calls:
            await call.read()
        cable.clog()
        for _ in range(40):
            backend.backend.write((made.uid, 1), "main", 0, b"x" * 65536)
        await asyncio.sleep(0.3)
        cable.cut()
        await backend.observe(made.uid, "SUCCEEDED")
        await api.until_state(made.name, "SUCCEEDED")
        await asyncio.sleep(0.1)
    assert incidents == []
