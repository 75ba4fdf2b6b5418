"""The SDK's streams against a real server: connections cut at every frame, servers that restart."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from subgrpc.client import AsyncClient, Client
from subgrpc.errors import FailedPrecondition

FRAME = struct.Struct(">I")
LINES = [f"line {number} ".encode() + b"\xc3\xa9" * number + b"\n" for number in range(6)]
WHOLE = b"".join(LINES)

both = pytest.mark.parametrize("kind", [Client, AsyncClient])


class Cutter:
    """A way to a server. Its n-th connection is reset in the middle of its n-th frame.

    So every frame that a server sends is once the one that does not arrive.
    """

    def __init__(self, address: str) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._sides: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.cuts = 0
        self.cutting = True

    async def __aenter__(self) -> Cutter:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()

    def cut(self) -> None:
        """Resets every connection."""
        for side in self._sides:
            side.transport.abort()
        self._sides.clear()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(self._host, int(self._port))
        except OSError:
            writer.transport.abort()
            return
        self._sides += [writer, back]
        self._tasks.append(asyncio.ensure_future(self._forth(reader, back)))
        self._tasks.append(asyncio.ensure_future(self._back(there, writer)))

    async def _forth(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
        except OSError:
            pass
        sink.transport.abort()

    async def _back(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Carries HTTP/2 frames: a length of three bytes, six more of header, the payload."""
        left = self.cuts
        try:
            while True:
                header = await source.readexactly(9)
                body = await source.readexactly(FRAME.unpack(b"\0" + header[:3])[0])
                if self.cutting and left == 0:
                    sink.write((header + body)[: 9 + len(body) // 2])
                    await sink.drain()
                    self.cuts += 1
                    break
                left -= 1
                sink.write(header + body)
        except (OSError, asyncio.IncompleteReadError):
            pass
        sink.transport.abort()


async def items(open_feed: Callable[[Any], Any], client: Any) -> AsyncIterator[Any]:
    """What a feed of either client brings."""
    feed = open_feed(client)
    if isinstance(client, AsyncClient):
        async for item in feed:
            yield item
        return
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Any] = asyncio.Queue()

    def read() -> None:
        try:
            for item in feed:
                loop.call_soon_threadsafe(queue.put_nowait, item)
            loop.call_soon_threadsafe(queue.put_nowait, None)
        except BaseException as error:
            loop.call_soon_threadsafe(queue.put_nowait, error)

    thread = threading.Thread(target=read)
    thread.start()
    while (item := await queue.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item
    await asyncio.to_thread(thread.join)


async def close(client: Any) -> None:
    """Closes either client."""
    done = client.close()
    if done is not None:
        await done


def follow(name: str, **options: Any) -> Callable[[Any], Any]:
    """Opens the output of an experiment, byte for byte."""
    return lambda client: client.experiments.logs(name, follow=True, text=False, **options)


async def output(client: Any, name: str) -> bytes:
    """All the output of an experiment."""
    return b"".join([chunk.data async for chunk in items(follow(name), client)])


History = list[tuple[str, str, int]]


async def histories(client: Any, uid: str, found: History) -> History:
    """Every change of an experiment that has not ended yet."""

    def watch(client: Any) -> Any:
        return client.experiments.watch(filter=f'uid = "{uid}"', until_terminal=True)

    async for change in items(watch, client):
        found.append((change.type, change.experiment.state, change.revision))
    return found


@both
async def test_output_survives_a_connection_that_is_cut_at_every_frame(
    api: Any, backend: Any, server: Any, kind: type[Any]
) -> None:
    """No byte is lost or doubled, whichever frame does not arrive."""
    made = await api.create("cut")
    await backend.observe(made.uid, "RUNNING")
    for line in LINES:
        backend.backend.write((made.uid, 1), "main", 0, line)
        await asyncio.sleep(0.02)  # so that not all of it is one frame
    async with Cutter(server.addresses[0]) as cutter:
        client = kind(cutter.address)
        reading = asyncio.ensure_future(output(client, "cut"))
        await asyncio.sleep(0.5)
        await backend.observe(made.uid, "SUCCEEDED")
        assert await asyncio.wait_for(reading, 40) == WHOLE
        assert cutter.cuts > 5
        await close(client)


@both
async def test_a_watch_survives_a_connection_that_is_cut_at_every_frame(
    api: Any, backend: Any, server: Any, until: Any, kind: type[Any]
) -> None:
    """Every change comes once, in commit order, whichever frame does not arrive."""
    made = await api.create("cut")
    await backend.observe(made.uid, "RUNNING")
    await api.until_state(made.name, "RUNNING")
    async with Cutter(server.addresses[0]) as cutter:
        straight, cut = AsyncClient(server.addresses[0]), kind(cutter.address)
        found: History = []
        watching = asyncio.ensure_future(histories(cut, made.uid, found))
        await until(lambda: found)
        before = cutter.cuts
        for number in range(5):
            await straight.experiments.update("cut", labels={"number": str(number)})
            await asyncio.sleep(0.1 * (number > 2))
        await backend.observe(made.uid, "SUCCEEDED")
        await asyncio.wait_for(watching, 40)
        states = [state for _, state, _ in found]
        assert states == [*["RUNNING"] * 6, "SUCCEEDED"]
        assert [each[0] for each in found] == ["ADDED", *["MODIFIED"] * 6]
        assert sorted({revision for _, _, revision in found}) == [each[2] for each in found]
        assert cutter.cuts > before > 0
        await close(cut)
        await straight.close()


@both
@pytest.mark.parametrize("way", ["stopped", "cut"])
async def test_servers_restart_under_a_watcher_and_a_follower(
    running: Any, backend: Any, kind: type[Any], way: str
) -> None:
    """A server that says good-bye, and one whose connections break first."""
    server = await running.server()
    api = running.api(server)
    made = await api.create("restarted")
    await backend.observe(made.uid, "RUNNING")
    await api.until_state(made.name, "RUNNING")
    backend.backend.write((made.uid, 1), "main", 0, b"first\n")
    async with Cutter(server.addresses[0]) as cutter:
        cutter.cutting = False
        client = kind(cutter.address)
        reading = asyncio.ensure_future(output(client, "restarted"))
        watching = asyncio.ensure_future(histories(client, made.uid, []))
        waiting = asyncio.ensure_future(_wait(client, made.name))
        await asyncio.sleep(0.5)
        if way == "cut":
            cutter.cut()
        await running.stop(server)
        await asyncio.sleep(0.3)
        server = await running.server(listen=(server.addresses[0],))
        await running.api(server).until_state(made.name, "RUNNING")
        backend.backend.write((made.uid, 1), "main", 0, b"second\n")
        await backend.observe(made.uid, "SUCCEEDED")
        text, changes, ended = await asyncio.wait_for(
            asyncio.gather(reading, watching, waiting), 40
        )
        assert text == b"first\nsecond\n"
        assert changes[0][:2] == ("ADDED", "RUNNING")
        assert changes[-1][:2] == ("MODIFIED", "SUCCEEDED")
        assert len({revision for _, _, revision in changes}) == len(changes)
        assert ended.succeeded
        await close(client)


@both
async def test_a_client_of_several_addresses_goes_on_at_another_server(
    running: Any, backend: Any, kind: type[Any]
) -> None:
    """Its streams by their tokens, its calls by themselves."""
    server = await running.server()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        other = f"127.0.0.1:{free.getsockname()[1]}"
    made = await running.api(server).create("moved")
    await backend.observe(made.uid, "RUNNING")
    await running.api(server).until_state(made.name, "RUNNING")
    backend.backend.write((made.uid, 1), "main", 0, b"first\n")
    client = kind(f"{server.addresses[0]},{other}")
    reading = asyncio.ensure_future(output(client, "moved"))
    waiting = asyncio.ensure_future(_wait(client, made.name))
    await asyncio.sleep(0.5)
    await running.stop(server)
    server = await running.server(listen=(other,))
    await running.api(server).until_state(made.name, "RUNNING")
    backend.backend.write((made.uid, 1), "main", 0, b"second\n")
    await backend.observe(made.uid, "SUCCEEDED")
    text, ended = await asyncio.wait_for(asyncio.gather(reading, waiting), 40)
    assert text == b"first\nsecond\n"
    assert ended.succeeded
    await close(client)


async def _wait(client: Any, name: str) -> Any:
    if isinstance(client, AsyncClient):
        return await client.experiments.wait(name)
    return await asyncio.to_thread(client.experiments.wait, name)


@both
async def test_a_later_process_goes_on_from_a_token(
    api: Any, backend: Any, server: Any, kind: type[Any], finish: Any
) -> None:
    """`resume_token` of a feed that was given up is where another begins."""
    made = await api.create("resumed")
    await backend.observe(made.uid, "RUNNING")
    async with AsyncClient(server.addresses[0]) as first:
        feed = follow("resumed")(first)
        backend.backend.write((made.uid, 1), "main", 0, b"first\n")
        assert (await feed.__anext__()).data == b"first\n"
        token = feed.resume_token
    backend.backend.write((made.uid, 1), "main", 0, b"second\n")
    await finish(made.uid)
    client = kind(server.addresses[0])
    rest = [c.data async for c in items(follow("resumed", resume_token=token), client)]
    assert b"".join(rest) == b"second\n"
    await close(client)


async def test_an_impatient_reader_loses_nothing(api: Any, backend: Any, server: Any) -> None:
    """A step of an iteration that is cancelled, as by `wait_for`, is made up for by the next."""
    made = await api.create("impatient")
    await backend.observe(made.uid, "RUNNING")
    got = b""
    async with AsyncClient(server.addresses[0]) as client:
        feed = follow("impatient")(client)
        for line in LINES[:4]:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(feed.__anext__(), 0.15)
            backend.backend.write((made.uid, 1), "main", 0, line)
            got += (await asyncio.wait_for(feed.__anext__(), 10)).data
        assert got == b"".join(LINES[:4])
        await feed.close()
        assert [chunk async for chunk in feed] == []


async def test_cancelling_a_task_cancels_it(api: Any, backend: Any, server: Any) -> None:
    """An iteration does not swallow it, nor take it for a lost connection."""
    made = await api.create("cancelled")
    await backend.observe(made.uid, "RUNNING")
    async with AsyncClient(server.addresses[0]) as client:
        task = asyncio.ensure_future(output(client, "cancelled"))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)


@both
async def test_a_feed_is_closed_while_it_is_read(
    api: Any, backend: Any, server: Any, kind: type[Any]
) -> None:
    """From another task or thread: the iteration ends, without an error."""
    made = await api.create("closed")
    await backend.observe(made.uid, "RUNNING")
    client = kind(server.addresses[0])
    feed = client.experiments.logs("closed", follow=True)
    reading = asyncio.ensure_future(_all(items(lambda _: feed, client)))
    await asyncio.sleep(0.3)
    await close(feed)
    assert await asyncio.wait_for(reading, 5) == []
    await close(client)


@both
async def test_closing_a_client_ends_its_streams(
    api: Any, backend: Any, server: Any, kind: type[Any]
) -> None:
    """With an error that says so, not with endless tries."""
    made = await api.create("closed")
    await backend.observe(made.uid, "RUNNING")
    client = kind(server.addresses[0])
    reading = asyncio.ensure_future(output(client, "closed"))
    await asyncio.sleep(0.3)
    await close(client)
    with pytest.raises(FailedPrecondition) as caught:
        await asyncio.wait_for(reading, 5)
    assert caught.value.reason == "CLIENT_CLOSED"


async def _all(found: AsyncIterator[Any]) -> list[Any]:
    return [each async for each in found]
