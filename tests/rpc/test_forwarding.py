"""StreamLogs on a server that does not keep the output itself."""

from __future__ import annotations

import asyncio
import itertools
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
from subgrpc.v1.types_pb2 import TaskState

pytestmark = pytest.mark.postgres

FORMATS = (pb.LOG_FORMAT_BYTES, pb.LOG_FORMAT_TEXT)


class Pair:
    """Two servers on one database; the first leads, and keeps the output."""

    def __init__(self, running: Any, **changes: Any) -> None:
        self.running = running
        self.backend = running.backend
        # No server dies here, so that the lease has time: on a busy machine a short one is lost.
        self.changes = {"lease_length": 10.0, **changes}
        self.folders = (running.data_dir, running.data_dir.with_name("other"))

    async def start(self, number: int) -> Any:
        database = self.running.databases.of(self.running.data_dir)
        return await self.running.server(
            data_dir=self.folders[number], database=database, **self.changes
        )

    async def both(self) -> Pair:
        self.keeper = await self.start(0)
        self.other = await self.start(1)
        self.at_keeper = self.running.api(self.keeper)
        self.at_other = self.running.api(self.other)
        return self

    async def run(self, api: Any) -> pb.Experiment:
        """An experiment of two tasks that runs."""
        request = api.request()
        request.experiment.spec.task_groups[0].replicas = 2
        made: pb.Experiment = (
            await api.stub.CreateExperiment(request, metadata=api.metadata)
        ).experiment
        await self.backend.run(made.uid)
        for index in (0, 1):
            self.backend.backend.observe((made.uid, 1), "main", index, TaskState.TASK_STATE_RUNNING)
        return made

    def write(self, made: pb.Experiment, index: int, data: bytes) -> None:
        self.backend.backend.write((made.uid, 1), "main", index, data)

    def end(self, made: pb.Experiment) -> None:
        for index in (0, 1):
            self.backend.backend.observe(
                (made.uid, 1), "main", index, TaskState.TASK_STATE_SUCCEEDED, exit_code=0
            )


@pytest.fixture
async def pair(running: Any) -> Pair:
    return await Pair(running).both()


def stream(api: Any, made: pb.Experiment, part: str = "", **fields: Any) -> Any:
    request = pb.StreamLogsRequest(name=made.name + part, **fields)
    return api.stub.StreamLogs(request, metadata=api.metadata)


async def rest(call: Any) -> list[Any]:
    """What is still to come of a call that was read from."""
    found = []
    while (frame := await asyncio.wait_for(call.read(), 30)) is not grpc.aio.EOF:
        found.append(frame)
    return found


async def read(api: Any, made: pb.Experiment, part: str = "", **fields: Any) -> list[Any]:
    async def all_of() -> list[Any]:
        return [frame async for frame in stream(api, made, part, **fields)]

    return await asyncio.wait_for(all_of(), 30)


def output(frames: list[Any], task: str) -> bytes:
    chunks = [each.chunk for each in frames if each.chunk.task == task]
    return b"".join(each.data or each.text.encode() for each in chunks)


LINES = [b"%d %d\n" % (number, number**5) * 20 + "naïve €\n".encode() for number in range(300)]


async def finished(pair: Pair) -> pb.Experiment:
    made = await pair.run(pair.at_keeper)
    for number, line in enumerate(LINES):
        pair.write(made, number % 2, line)
        if not number % 50:
            await asyncio.sleep(0.01)  # so that the streams are interleaved in the journal
    pair.end(made)
    await pair.at_keeper.until_state(made.name, "SUCCEEDED")
    await read(pair.at_keeper, made, follow=True)
    return made


async def test_what_runs_elsewhere_is_followed_to_its_end(pair: Pair) -> None:
    """Line by line while it runs, byte for byte, also by one who comes before the first."""
    made = await pair.run(pair.at_keeper)
    following = [
        stream(api, made, follow=True, format=pb.LOG_FORMAT_BYTES)
        for api in (pair.at_other, pair.at_keeper)
    ]
    for number in range(5):
        pair.write(made, 0, b"line %d\n" % number)
        for call in following:
            assert (await asyncio.wait_for(call.read(), 20)).chunk.data == b"line %d\n" % number
    big = bytes(range(256)) * 2000
    pair.write(made, 1, big)
    pair.end(made)
    for call in following:
        frames = await rest(call)
        assert output(frames, "main-1") == big
        assert frames[-1].end.state == pb.EXPERIMENT_STATE_SUCCEEDED


async def test_every_server_sends_the_same_frames(pair: Pair) -> None:
    """With the same tokens: whole, of one task or stream, in both formats, and from a tail."""
    made = await finished(pair)
    for form, (part, fields) in itertools.product(
        FORMATS,
        [
            ("", {}),
            ("", {"follow": True}),
            ("", {"stream": 1}),
            ("/attempts/1", {}),
            ("/attempts/1/tasks/main-1", {"follow": True}),
            ("", {"tail_lines": 10}),
            ("", {"tail_lines": 0}),
            ("/attempts/1/tasks/main-0", {"tail_lines": 7, "follow": True}),
        ],
    ):
        wanted = await read(pair.at_keeper, made, part, format=form, **fields)
        assert await read(pair.at_other, made, part, format=form, **fields) == wanted
        assert wanted[-1].HasField("end")
        if not fields and not part:
            assert output(wanted, "main-0") + output(wanted, "main-1") == b"".join(
                LINES[::2] + LINES[1::2]
            )


@pytest.mark.parametrize("form", FORMATS)
async def test_a_token_of_any_server_is_good_at_the_other(pair: Pair, form: int) -> None:
    """It goes on behind its frame."""
    made = await finished(pair)
    frames = await read(pair.at_other, made, format=form)
    for number in (0, 1, len(frames) // 2, len(frames) - 1):
        token = frames[number].resume_token
        for api in (pair.at_keeper, pair.at_other):
            found = await read(api, made, format=form, resume_token=token)
            assert found == (frames[number + 1 :] or frames[-1:])


async def test_without_following_what_is_there_now_is_all(pair: Pair) -> None:
    """No end is said of an experiment that goes on."""
    made = await pair.run(pair.at_keeper)
    pair.write(made, 0, b"so far\n")
    call = stream(pair.at_keeper, made, follow=True)
    assert (await call.read()).chunk.text == "so far\n"
    call.cancel()
    frames = await read(pair.at_other, made)
    assert [each.chunk.text for each in frames] == ["so far\n"]


async def test_a_server_that_stops_hands_over(pair: Pair, refused: Any) -> None:
    """Its followers are sent away, and go on by token at the other, which collects anew."""
    made = await pair.run(pair.at_keeper)
    calls = [stream(api, made, follow=True) for api in (pair.at_other, pair.at_keeper)]
    tokens = []
    for text in ("one\n", "two\n"):
        pair.write(made, 0, text.encode())
        last = [await call.read() for call in calls]
        assert [each.chunk.text for each in last] == [text] * 2
        tokens = [each.resume_token for each in last]
    pair.write(made, 1, b"another\n")
    stopping = asyncio.ensure_future(pair.running.stop(pair.keeper))
    ended = await asyncio.wait_for(asyncio.gather(*map(rest, calls), return_exceptions=True), 20)
    assert isinstance(ended[0], grpc.aio.AioRpcError)
    assert ended[0].code() == grpc.StatusCode.UNAVAILABLE
    await stopping
    pair.write(made, 0, b"three\n")
    pair.end(made)
    for token in tokens:
        found = await followed(pair.at_other, made, token)
        assert output(found, "main-0") == b"three\n"
        assert output(found, "main-1") == b"another\n"
    whole = await read(pair.at_other, made)
    assert output(whole, "main-0") == b"one\ntwo\nthree\n"


async def followed(api: Any, made: pb.Experiment, token: str) -> list[Any]:
    """Follows to the end as clients do: again, from the last token, while it is UNAVAILABLE."""
    frames: list[Any] = []
    for _ in range(100):
        try:
            async for frame in stream(api, made, follow=True, resume_token=token):
                frames.append(frame)
                token = frame.resume_token
            return frames
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            await asyncio.sleep(0.1)
    raise AssertionError("unavailable for too long")


async def test_output_on_a_server_that_is_away_is_unavailable(pair: Pair, refused: Any) -> None:
    """With its name, and when to ask again; once it is back, at another port, all is there."""
    made = await finished(pair)
    whole = await read(pair.at_keeper, made)
    address = pair.keeper.addresses[0]
    await pair.running.stop(pair.keeper)
    failure = await refused(read(pair.at_other, made))
    assert failure.code == grpc.StatusCode.UNAVAILABLE
    assert failure.reason == "LOGS_UNAVAILABLE"
    assert failure.retry_after
    assert address in failure.message
    assert "away since 20" in failure.message
    await pair.start(0)
    assert await read(pair.at_other, made) == whole


async def test_deleted_output_is_gone_for_those_who_follow_elsewhere(
    pair: Pair, refused: Any
) -> None:
    """As for those who follow where it was kept."""
    made = await pair.run(pair.at_keeper)
    pair.write(made, 0, b"x\n")
    call = stream(pair.at_other, made, follow=True)
    assert (await call.read()).chunk.text == "x\n"
    delete = pb.DeleteExperimentRequest(name=made.name, force=True)
    await pair.at_other.stub.DeleteExperiment(delete)
    await pair.backend.stopped(made.uid)
    pair.backend.backend.observe((made.uid, 1), "main", 1, TaskState.TASK_STATE_CANCELLED)
    assert (await refused(rest(call))).code == grpc.StatusCode.NOT_FOUND


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
