"""Clients as objects: made of the environment, pickled, forked, closed, printed."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from subgrpc.client import (
    AsyncClient,
    Client,
    Credentials,
    ExperimentHandle,
    async_connect,
    connect,
)
from subgrpc.client.printing import Printer
from subgrpc.errors import FailedPrecondition, FieldViolation, InvalidArgument, NotFound
from subgrpc.v1 import experiment_service_pb2 as v1
from subgrpc.v1.experiment_service_pb2_grpc import (
    ExperimentServiceServicer,
    add_ExperimentServiceServicer_to_server,
)
from subgrpc.v1.types_pb2 import LogStream


class Answers(ExperimentServiceServicer):
    """Knows every experiment, fails the first try of each call, and notes request ids."""

    def __init__(self) -> None:
        self.request_ids: list[str] = []
        self.uid = "u1"

    def GetExperiment(  # noqa: N802
        self, request: v1.GetExperimentRequest, context: grpc.ServicerContext
    ) -> v1.GetExperimentResponse:
        found = v1.Experiment(name=request.name, uid=self.uid)
        found.state = v1.ExperimentState.EXPERIMENT_STATE_RUNNING
        return v1.GetExperimentResponse(experiment=found)

    def CreateExperiment(  # noqa: N802
        self, request: v1.CreateExperimentRequest, context: grpc.ServicerContext
    ) -> v1.CreateExperimentResponse:
        self.request_ids.append(request.request_id)
        if len(self.request_ids) % 2:
            context.abort(grpc.StatusCode.UNAVAILABLE, "try again")
        return v1.CreateExperimentResponse(experiment=request.experiment)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Answers, str]]:
    """The servicer and its address."""
    servicer = Answers()  # type: ignore[abstract]
    server = grpc.server(ThreadPoolExecutor(8))
    add_ExperimentServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(0).wait()


@pytest.fixture
def address(served: tuple[Answers, str]) -> str:
    """The server's address."""
    return served[1]


def test_a_client_without_arguments_is_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where an address is given, nothing of the environment is sent there."""
    assert Client().address == "127.0.0.1:7411"
    monkeypatch.setenv("SUBGRPC_ADDRESS", "127.0.0.1:7")
    monkeypatch.setenv("SUBGRPC_TOKEN", "t0ken")
    for client in (Client(), connect(), AsyncClient(), async_connect()):
        assert client.address == "127.0.0.1:7"
        assert client._connection.target.metadata == (("authorization", "Bearer t0ken"),)
    assert Client("127.0.0.1:8")._connection.target.metadata == ()


def test_a_token_is_not_printed() -> None:
    """Neither with credentials nor with a client."""
    credentials = Credentials(token="t0ken")
    assert "t0ken" not in repr(credentials) + repr(Client("127.0.0.1:1", credentials))


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_unpickled_client_is_equal_to_its_original(
    kind: type[Client] | type[AsyncClient],
) -> None:
    """In address, credentials and timeout; connections are not taken along."""
    client = kind("127.0.0.1:1", Credentials(token="t0ken"), timeout=3.0)
    copy = pickle.loads(pickle.dumps(client))
    assert type(copy) is kind
    assert copy.__getstate__() == client.__getstate__()


def test_a_handle_can_be_sent_to_another_process(address: str) -> None:
    """There it makes a connection of its own, even while this process has one."""
    with Client(address) as client:
        handle = client.experiments.get("x")
        code = (
            "import pickle, sys; handle = pickle.load(sys.stdin.buffer); "
            "print(handle.refresh().state, handle.id)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=pickle.dumps(handle),
            capture_output=True,
            check=True,
            timeout=30,
        )
        assert done.stdout == b"RUNNING x\n"
        assert handle.refresh().state == "RUNNING"


def test_a_client_can_be_used_on_both_sides_of_a_fork(address: str) -> None:
    """Whether it was used before or not."""
    code = f"""
    import os, sys, threading
    from subgrpc.client import Client
    client, fresh = Client({address!r}), Client({address!r})
    client.experiments.get("x")
    pid = os.fork()
    for each in (client, fresh):
        assert each.experiments.get("y").id == "y"
    if pid:
        _, status = os.waitpid(pid, 0)
        sys.exit(os.waitstatus_to_exitcode(status))
    os._exit(0)
    """
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)], check=True, timeout=30
    )


def test_threads_share_a_client(address: str) -> None:
    """Also its very first calls."""
    with Client(address) as client, ThreadPoolExecutor(16) as pool:
        names = [f"x{number}" for number in range(200)]
        found = list(pool.map(lambda name: client.experiments.get(name).id, names))
    assert found == names


def test_an_async_client_serves_one_loop_after_the_other(address: str) -> None:
    """As `asyncio.run` makes them."""
    import asyncio

    client = AsyncClient(address)

    async def ask() -> str:
        found = await asyncio.gather(*(client.experiments.get(f"x{n}") for n in range(20)))
        return found[-1].id

    assert [asyncio.run(ask()) for _ in range(2)] == ["x19"] * 2


def test_a_second_try_carries_the_same_request_id(served: tuple[Answers, str]) -> None:
    """And another call another one; one's own is taken as it is."""
    servicer, address = served
    servicer.request_ids.clear()
    with Client(address) as client:
        client.experiments.create("x")
        client.experiments.create("x")
        client.experiments.create("x", request_id="mine")
    first, again, second, _, *mine = servicer.request_ids
    assert first == again != second
    assert len(first) == 36
    assert mine == ["mine", "mine"]


def test_a_handle_does_not_take_a_namesake_for_its_own(served: tuple[Answers, str]) -> None:
    """One that was deleted and created anew is another experiment."""
    servicer, address = served
    with Client(address) as client:
        handle = client.experiments.get("x")
        servicer.uid = "u2"
        with pytest.raises(NotFound, match="another experiment has its name"):
            handle.refresh()


def test_a_closed_client_says_so(address: str) -> None:
    """Also one that was never used; closing twice is nothing."""
    for client in (Client(address), Client(address)):
        client.close()
        client.close()
        with pytest.raises(FailedPrecondition) as caught:
            client.experiments.get("x")
        assert caught.value.reason == "CLIENT_CLOSED"


async def test_a_closed_async_client_says_so(address: str) -> None:
    """Calls that are under way, too."""
    client = AsyncClient(address)
    assert (await client.experiments.get("x")).state == "RUNNING"
    await client.close()
    with pytest.raises(FailedPrecondition) as caught:
        await client.experiments.get("x")
    assert caught.value.reason == "CLIENT_CLOSED"


def test_errors_can_be_sent_to_another_process() -> None:
    """With reason and violations: pools of processes hand them over by pickling."""
    error = InvalidArgument(violations=[FieldViolation("a", "b")], reason="R", metadata={"k": "v"})
    copy = pickle.loads(pickle.dumps(error))
    found = (copy.violations, copy.reason, copy.metadata, str(copy))
    assert found == (error.violations, "R", {"k": "v"}, str(error))


def test_a_handle_tells_its_state() -> None:
    """In words; also a state that is newer than this client."""
    experiment = v1.Experiment(name="teams/default/experiments/x")
    handle = ExperimentHandle(Client("127.0.0.1:1").experiments, experiment)
    experiment.state = v1.ExperimentState.EXPERIMENT_STATE_SUCCEEDED
    assert (handle.state, handle.ended, handle.succeeded) == ("SUCCEEDED", True, True)
    assert repr(handle) == "<ExperimentHandle teams/default/experiments/x SUCCEEDED>"
    experiment.state = 99  # type: ignore[assignment]
    assert (handle.state, handle.ended) == ("99", False)


def chunk(task: str, text: str, stream: int = LogStream.LOG_STREAM_STDOUT) -> v1.LogChunk:
    """A piece of output."""
    return v1.LogChunk(attempt=1, task=task, text=text, stream=stream)  # type: ignore[arg-type]


def test_output_is_printed_as_it_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    """To stdout and stderr, without waiting for the end of a line."""
    printer = Printer(prefix=False)
    printer.take(chunk("a-0", "no end"))
    assert capsys.readouterr().out == "no end"
    printer.take(chunk("a-0", "wrong\n", LogStream.LOG_STREAM_STDERR))
    printer.finish()
    assert capsys.readouterr().err == "wrong\n"


def test_lines_of_several_tasks_do_not_mix(capsys: pytest.CaptureFixture[str]) -> None:
    """Each has its task before it; the last needs no end."""
    printer = Printer(prefix=True)
    for task, text in [("a-0", "one "), ("b-0", "two\nthr"), ("a-0", "line\n"), ("b-0", "ee")]:
        printer.take(chunk(task, text))
    printer.finish()
    assert capsys.readouterr().out == "[b-0] two\n[a-0] one line\n[b-0] three\n"
