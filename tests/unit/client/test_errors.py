"""Errors of the client: the classes, reasons and violations that the server meant."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from subgrpc import errors
from subgrpc.client import Client, connect
from subgrpc.client.channel import Credentials, Target, is_local
from subgrpc.errors import FieldViolation, InvalidArgument, SubgrpcError, Unavailable
from subgrpc.rpc.status import DETAILS_KEY, to_status
from subgrpc.v1 import experiment_service_pb2 as v1
from subgrpc.v1.experiment_service_pb2_grpc import (
    ExperimentServiceServicer,
    add_ExperimentServiceServicer_to_server,
)

NAME = "teams/default/experiments/x"


class Refuses(ExperimentServiceServicer):
    """Answers every Get with an error, encoded as the real server does it."""

    error: SubgrpcError | None
    calls = 0
    metadata: dict[str, str | bytes]

    def GetExperiment(  # noqa: N802
        self, request: v1.GetExperimentRequest, context: grpc.ServicerContext
    ) -> v1.GetExperimentResponse:
        self.calls += 1
        self.metadata = dict(context.invocation_metadata())
        if self.error is None:  # as gRPC ends a call that meets a server which has just stopped
            context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")
        status = to_status(self.error)
        context.set_trailing_metadata(((DETAILS_KEY, status.details),))
        context.abort(status.code, status.message)


@pytest.fixture(scope="module")
def refuses() -> Iterator[tuple[Refuses, str]]:
    """The server and its address."""
    servicer = Refuses()  # type: ignore[abstract]
    server = grpc.server(ThreadPoolExecutor(4))
    add_ExperimentServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(0).wait()


@pytest.fixture(scope="module")
def client(refuses: tuple[Refuses, str]) -> Iterator[Client]:
    """A client with a token."""
    with connect(refuses[1], token="secret") as made:
        yield made


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFound("no such experiment", reason="EXPERIMENT_NOT_FOUND"),
        errors.AlreadyExists("taken", metadata={"name": NAME}),
        errors.FailedPrecondition("not now", reason="EXPERIMENT_NOT_TERMINAL"),
        errors.Aborted("changed", reason="ETAG_MISMATCH"),
        errors.OutOfRange("too old"),
        errors.Unauthenticated("no token"),
        errors.PermissionDenied("not you"),
        errors.Unimplemented("not here"),
        errors.DataLoss("damaged"),
        errors.ResourceExhausted("too many", reason="TOO_MANY_STREAMS", retry_after=1.5),
        SubgrpcError("an internal error, incident 4711"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_arrives_as_it_was_raised(
    refuses: tuple[Refuses, str], client: Client, error: SubgrpcError
) -> None:
    """Class, message, reason, metadata and the time to wait."""
    refuses[0].error = error
    with pytest.raises(SubgrpcError) as caught:
        client.get_experiment(NAME)
    found = caught.value
    assert type(found) is type(error)
    assert (found.message, found.reason) == (error.message, error.reason)
    assert found.metadata == error.metadata
    assert getattr(found, "retry_after", None) == getattr(error, "retry_after", None)


def test_violations_arrive_with_their_fields(refuses: tuple[Refuses, str], client: Client) -> None:
    """All of them, in order."""
    violations = [FieldViolation("a", "is wrong", "REQUIRED"), FieldViolation("b[0]", "too")]
    refuses[0].error = InvalidArgument(violations=violations)
    with pytest.raises(InvalidArgument) as caught:
        client.get_experiment(NAME)
    assert list(caught.value.violations) == violations


def test_unavailable_is_tried_again_and_nothing_else_is(
    refuses: tuple[Refuses, str], client: Client
) -> None:
    """Four tries, then the server's own reason."""
    refuses[0].error, refuses[0].calls = Unavailable("busy", reason="METASTORE_UNAVAILABLE"), 0
    with pytest.raises(Unavailable, match="busy") as caught:
        client.get_experiment(NAME)
    assert (refuses[0].calls, caught.value.reason) == (4, "METASTORE_UNAVAILABLE")
    refuses[0].error, refuses[0].calls = errors.Aborted("no"), 0
    with pytest.raises(errors.Aborted):
        client.get_experiment(NAME)
    assert refuses[0].calls == 1


def test_the_token_travels_with_every_call(refuses: tuple[Refuses, str], client: Client) -> None:
    """As a bearer token."""
    refuses[0].error = errors.NotFound("x")
    with pytest.raises(errors.NotFound):
        client.get_experiment(NAME)
    assert refuses[0].metadata["authorization"] == "Bearer secret"


def test_no_server_is_a_clear_error(tmp_path: Path) -> None:
    """It names the address and the system's own reason."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with connect(address) as client, pytest.raises(Unavailable) as caught:
            client.get_experiment(NAME)
    assert caught.value.reason == "SERVER_UNREACHABLE"
    assert address in caught.value.message
    assert "Connection refused" in caught.value.message
    with connect(f"unix:{tmp_path}/none") as client, pytest.raises(Unavailable) as caught:
        client.get_experiment(NAME)
    assert "No such file" in caught.value.message


def test_a_call_that_meets_a_stopping_server_may_be_made_again(
    client: Client, refuses: tuple[Refuses, str]
) -> None:
    """gRPC says CANCELLED, though nobody has; for the caller no server was there."""
    refuses[0].error = None
    with pytest.raises(Unavailable, match="stopping") as caught:
        client.get_experiment(NAME)
    assert caught.value.reason == "SERVER_UNREACHABLE"


def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    """After the client's timeout, with a reason of its own."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with connect(address, timeout=0.3) as client, pytest.raises(Unavailable) as caught:
            client.get_experiment(NAME)
    assert caught.value.reason == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize(
    "address", ["", "7411", "localhost", "http://localhost:7411", ":7411", "host:port", "unix:"]
)
def test_what_is_no_address_is_refused_before_any_call(address: str) -> None:
    """With the forms that are."""
    with pytest.raises(InvalidArgument, match="HOST:PORT"):
        connect(address)


def test_a_certificate_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """With the file's name."""
    with pytest.raises(InvalidArgument, match="No such file"):
        connect("127.0.0.1:1", ca=str(tmp_path / "none.pem"))


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("[::ffff:127.0.0.1]:1", True),
        ("LOCALHOST:1", True),
        ("unix:/x", True),
        ("10.0.0.1:1", False),
        ("example.org:1", False),
        ("localhost.example.org:1", False),
        ("0.0.0.0:1", False),
    ],
)
def test_what_leaves_this_machine_is_told_apart(address: str, local: bool) -> None:
    """Only there may tokens and data travel without TLS."""
    assert is_local(address) is local


@pytest.mark.parametrize("other", ["10.0.0.1:1", "", "unix:/x"])
def test_several_addresses_are_of_this_machine(other: str) -> None:
    """TLS between machines wants one name: the error says what to do instead."""
    with pytest.raises(InvalidArgument) as caught:
        Target(f"127.0.0.1:1,{other}", Credentials())
    assert caught.value.violations[0].field == "address"


def test_several_loopback_addresses_are_local() -> None:
    """So a client speaks to them without TLS."""
    assert is_local("127.0.0.1:1,localhost:2")
    Target("127.0.0.1:1,localhost:2", Credentials()).open(streams=False).close()
