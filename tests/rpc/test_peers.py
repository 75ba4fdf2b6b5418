"""Servers that forward StreamLogs to each other: whom they trust, and what holds them up."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc

from subgrpc.metastore import Metastore
from subgrpc.rpc.hop import HOP_KEY, Hops
from subgrpc.tokens import TokenCodec
from subgrpc.v1 import experiment_service_pb2 as pb

from .pair import Pair, finished, followed, output, pair, read, rest, stream

__all__ = ["pair"]

pytestmark = pytest.mark.postgres


async def test_servers_let_each_other_in_whoever_else_may_come(
    running: Any, certificates: Any, tmp_path: Path, refused: Any
) -> None:
    """With TLS, client certificates and tokens for everybody else."""
    tokens = tmp_path / "tokens"
    tokens.write_text("secret alice\n")
    tokens.chmod(0o600)
    pair = Pair(
        running,
        tls_cert=certificates.path("server.crt"),
        tls_key=certificates.path("server.key"),
        tls_client_ca=certificates.path("ca.crt"),
        peer_ca=certificates.path("ca.crt"),
        token_file=tokens,
    )
    credentials = grpc.ssl_channel_credentials(
        *map(certificates.read, ("ca.crt", "server.key", "server.crt"))
    )
    keeper, other = await pair.start(0), await pair.start(1)
    api = running.api(other, credentials, token="secret")
    made = await pair.run(api)
    pair.write(made, 0, b"secret\n")
    pair.end(made)
    for server in (keeper, other):
        frames = await read(running.api(server, credentials, token="secret"), made, follow=True)
        assert output(frames, "main-0") == b"secret\n"
        anybody = running.api(server, credentials)
        assert (await refused(read(anybody, made))).code == grpc.StatusCode.UNAUTHENTICATED


async def test_only_servers_of_this_system_pass_as_such(
    pair: Pair, tmp_path: Path, refused: Any
) -> None:
    """A forged credential is refused, and a real one opens nothing but the output it is for."""
    made = await finished(pair)
    store = await Metastore.open(
        tmp_path / "third", database=pair.running.databases.of(pair.running.data_dir)
    )
    row = await store.attempt(made.uid, 1)
    real = TokenCodec(store.identity.token_key, store.identity.history_id)
    forged = TokenCodec(bytes(32), store.identity.history_id)
    await store.close()
    assert row is not None

    def metadata(tokens: TokenCodec) -> Any:
        return ((HOP_KEY, Hops(tokens, "someone").credential(row.journal_server, 1)),)

    stub = pair.at_keeper.stub

    async def hop(api: Any, tokens: TokenCodec) -> list[Any]:
        request = pb.StreamLogsRequest(name=made.name)
        return [frame async for frame in api.stub.StreamLogs(request, metadata=metadata(tokens))]

    assert (await hop(pair.at_keeper, real))[-1].HasField("end")
    for call in (
        hop(pair.at_keeper, forged),
        hop(pair.at_other, real),
        stub.GetExperiment(pb.GetExperimentRequest(name=made.name), metadata=metadata(real)),
    ):
        failure = await refused(call)
        assert failure.code == grpc.StatusCode.UNAUTHENTICATED
        assert failure.reason == "CREDENTIALS_INVALID"


async def test_who_reads_slowly_holds_up_the_server_that_keeps_the_output(
    pair: Pair,
) -> None:
    """Nothing piles up on the way: the other one reads on as his client does."""
    made = await pair.run(pair.at_keeper)
    for number in range(640):
        pair.write(made, 0, bytes([number % 256]) * 65536)
    pair.end(made)
    await pair.at_keeper.until_state(made.name, "SUCCEEDED", timeout=30)
    before = await sent_by(pair)
    call = stream(pair.at_other, made, format=pb.LOG_FORMAT_BYTES, follow=True)
    first = await call.read()
    sent = [-9, before]
    while sent[-1] != sent[-2]:
        await asyncio.sleep(0.5)
        sent.append(await sent_by(pair))
    assert 0 < sent[-1] - before < 300
    size = len(first.chunk.data) + sum(len(frame.chunk.data) for frame in await rest(call))
    assert size == 640 * 65536


async def sent_by(pair: Pair) -> int:
    """How many messages the keeper has sent."""
    return sum(data.messages_sent for data in await sockets_of(pair))


async def sockets_of(pair: Pair) -> list[Any]:
    """What gRPC counts of each of the keeper's connections; the other one is asked."""
    stub = channelz_pb2_grpc.ChannelzStub(pair.at_other.channel)
    port = int(pair.keeper.addresses[0].rpartition(":")[2])
    counted = []
    for each in (await stub.GetServers(channelz_pb2.GetServersRequest())).server:
        request = channelz_pb2.GetServerSocketsRequest(server_id=each.ref.server_id)
        for ref in (await stub.GetServerSockets(request)).socket_ref:
            request = channelz_pb2.GetSocketRequest(socket_id=ref.socket_id)
            found = (await stub.GetSocket(request)).socket
            if found.local.tcpip_address.port == port:
                counted.append(found.data)
    return counted


async def test_who_goes_away_ends_the_call_to_the_server_that_keeps_the_output(pair: Pair) -> None:
    """By cancelling, and by a deadline: nothing is left behind."""
    made = await pair.run(pair.at_keeper)
    pair.write(made, 0, b"x\n")
    request = pb.StreamLogsRequest(name=made.name, follow=True)
    before = await open_at(pair)
    cancelled = pair.at_other.stub.StreamLogs(request)
    late = pair.at_other.stub.StreamLogs(request, timeout=2)
    for call in (cancelled, late):
        assert (await call.read()).chunk.text == "x\n"
    assert await open_at(pair) == before + 2
    cancelled.cancel()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await late.read()
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    deadline = asyncio.get_running_loop().time() + 10
    while await open_at(pair) != before:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)


async def test_servers_of_a_machine_may_meet_at_a_socket(running: Any, tmp_path: Path) -> None:
    """`advertise` is where the others call, whatever else is listened at."""
    path = f"unix:{tmp_path / 'meet'}"
    pair = Pair(running)
    pair.changes |= {"listen": ("127.0.0.1:0", path), "advertise": path}
    pair.keeper = await pair.start(0)
    pair.changes |= {"listen": ("127.0.0.1:0",), "advertise": ""}
    pair.other = await pair.start(1)
    api = running.api(pair.other)
    made = await pair.run(api)
    pair.write(made, 0, b"x\n")
    pair.end(made)
    assert output(await read(api, made, follow=True), "main-0") == b"x\n"
    store = await Metastore.open(
        tmp_path / "third", database=running.databases.of(running.data_dir)
    )
    row = await store.attempt(made.uid, 1)
    assert row is not None
    record = await store.server(row.journal_server)
    await store.close()
    assert record is not None
    assert record.address == path


async def test_an_attempt_that_is_kept_elsewhere_hides_no_other(pair: Pair, refused: Any) -> None:
    """The stream ends where output is missing; the others can be asked for by number."""
    request = pair.at_keeper.request()
    request.experiment.spec.retry_policy.max_retries = 1
    made = (await pair.at_keeper.stub.CreateExperiment(request)).experiment
    await pair.backend.observe(made.uid, "RUNNING")
    pair.write(made, 0, b"first\n")
    await pair.backend.observe(made.uid, "FAILED", exit_code=1)
    await pair.backend.observe(made.uid, "RUNNING", attempt=2)
    first = await read(pair.at_keeper, made, "/attempts/1", follow=True)
    await pair.running.stop(pair.keeper)
    pair.backend.backend.write((made.uid, 2), "main", 0, b"second\n")
    await pair.backend.observe(made.uid, "SUCCEEDED", attempt=2)
    await pair.at_other.until_state(made.name, "SUCCEEDED", timeout=20)
    found = await read(pair.at_other, made, "/attempts/2", follow=True)
    assert output(found, "main-0") == b"second\n"
    failure = await refused(read(pair.at_other, made))
    assert failure.reason == "LOGS_UNAVAILABLE"
    assert f"attempt 1, is kept by the server on {socket.gethostname()}" in failure.message
    await pair.start(0)
    assert (await read(pair.at_other, made, "/attempts/1"))[:-1] == first[:-1]
    assert output(await read(pair.at_other, made), "main-0") == b"first\nsecond\n"


class Network:
    """What lies between two servers; `swallows` all packets while that is set."""

    def __init__(self) -> None:
        self.passes = asyncio.Event()
        self.passes.set()
        self.target = ("127.0.0.1", 0)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(*self.target)
        for one, other in ((reader, there[1]), (there[0], writer)):
            task = asyncio.create_task(self._pass(one, other))
            self._tasks.add(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self.passes.wait()
            writer.write(data)
        writer.close()


async def test_a_network_that_swallows_everything_is_noticed(
    running: Any, tmp_path: Path, refused: Any
) -> None:
    """Who follows is told within half a minute, and goes on once packets pass again."""
    network = Network()
    pair = Pair(running)
    pair.changes |= {"advertise": await network.start()}
    pair.keeper = await pair.start(0)
    network.target = ("127.0.0.1", int(pair.keeper.addresses[0].rpartition(":")[2]))
    pair.changes |= {"advertise": ""}
    pair.other = await pair.start(1)
    api = running.api(pair.other)
    made = await pair.run(api)
    pair.write(made, 0, b"one\n")
    call = stream(api, made, follow=True)
    token = (await call.read()).resume_token
    network.passes.clear()
    pair.write(made, 0, b"two\n")
    assert (await refused(rest(call))).reason == "LOGS_UNAVAILABLE"
    assert (await refused(read(api, made))).reason == "LOGS_UNAVAILABLE"
    network.passes.set()
    pair.end(made)
    assert output(await followed(api, made, token), "main-0") == b"two\n"
    network.close()


async def open_at(pair: Pair) -> int:
    """How many calls the keeper is answering."""
    count = 0
    for data in await sockets_of(pair):
        count += data.streams_started - data.streams_succeeded - data.streams_failed
    return count
