"""Who gets in: nobody from another machine without TLS and credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from subgrpc.errors import FailedPrecondition
from subgrpc.rpc.auth import read_tokens
from subgrpc.v1 import experiment_service_pb2 as pb


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text("# who may call\nsecret-of-alice alice\n\nsecret-of-bob bob # the other\n")
    path.chmod(0o600)
    return path


def tls(certificates: Any) -> dict[str, Any]:
    return {
        "tls_cert": certificates.path("server.crt"),
        "tls_key": certificates.path("server.key"),
    }


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.org:0", "[::ffff:8.8.8.8]:0"]
)
async def test_other_machines_are_not_let_in_without_tls_and_credentials(
    running: Any, certificates: Any, token_file: Any, listen: Any
) -> None:
    for given in (
        {},
        {"token_file": token_file},
        tls(certificates),
    ):
        with pytest.raises(FailedPrecondition) as caught:
            await running.server(listen=("127.0.0.1:0", listen), **given)
        assert caught.value.reason == "INSECURE_LISTENER"
    assert not running.data_dir.exists(), "refused before anything was made"


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0", "127.8.8.8:0"])
async def test_loopback_needs_no_credentials(running: Any, listen: Any) -> None:
    made = await running.api(await running.server(listen=(listen,))).create()
    assert made.creator == "anonymous"


async def test_a_certificate_without_a_key_is_refused(running: Any, certificates: Any) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        await running.server(tls_cert=certificates.path("server.crt"))
    assert caught.value.reason == "TLS_INCOMPLETE"
    with pytest.raises(FailedPrecondition) as caught:
        await running.server(tls_client_ca=certificates.path("ca.crt"))
    assert caught.value.reason == "TLS_INCOMPLETE"
    with pytest.raises(FailedPrecondition) as caught:
        await running.server(
            tls_cert=certificates.path("nothing"), tls_key=certificates.path("server.key")
        )
    assert caught.value.reason == "TLS_FILE_UNREADABLE"


async def test_a_bearer_token_names_its_caller(running: Any, token_file: Any) -> None:
    api = running.api(await running.server(token_file=token_file))
    request = api.request()
    for who in ("alice", "bob"):
        answer = await api.stub.CreateExperiment(request, metadata=bearer(f"secret-of-{who}"))
        assert answer.experiment.creator == who
    scheme = (("authorization", "bEaReR secret-of-alice"),)
    await api.stub.CreateExperiment(request, metadata=scheme)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ((), "CREDENTIALS_MISSING"),
        ((("authorization", "Basic abc"),), "CREDENTIALS_MISSING"),
        ((("authorization", "Bearer "),), "CREDENTIALS_MISSING"),
        (bearer("secret-of-alicE"), "CREDENTIALS_INVALID"),
        (bearer("alice"), "CREDENTIALS_INVALID"),
        (bearer("x" * 4000), "CREDENTIALS_INVALID"),
    ],
)
async def test_without_the_right_token_nothing_is_told(
    running: Any, token_file: Any, refused: Any, sent: Any, reason: Any
) -> None:
    """Not even whether the request makes sense, or the experiment exists."""
    api = running.api(await running.server(token_file=token_file))
    bad = pb.GetExperimentRequest(name="no name at all")
    calls = (
        api.stub.GetExperiment(bad, metadata=sent),
        api.stub.WatchExperiments(pb.WatchExperimentsRequest(), metadata=sent).read(),
        channelz_pb2_grpc.ChannelzStub(api.channel).GetServers(
            channelz_pb2.GetServersRequest(), metadata=sent
        ),
        reflect(api.channel, sent),
    )
    for call in calls:
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)
    health = health_pb2_grpc.HealthStub(api.channel)
    answer = await health.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def reflect(channel: grpc.aio.Channel, sent: Any) -> Any:
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(metadata=sent)
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    return await call.read()


async def test_with_the_token_reflection_works(running: Any, token_file: Any) -> None:
    api = running.api(await running.server(token_file=token_file))
    answer = await reflect(api.channel, bearer("secret-of-bob"))
    assert answer.list_services_response.service


async def test_request_ids_of_two_callers_are_apart(running: Any, token_file: Any) -> None:
    api = running.api(await running.server(token_file=token_file))
    request = api.request(request_id="same")
    uids = {
        (
            await api.stub.CreateExperiment(request, metadata=bearer(f"secret-of-{who}"))
        ).experiment.uid
        for who in ("alice", "bob")
    }
    assert len(uids) == 2


async def test_tls_and_tokens_open_a_listener_for_other_machines(
    running: Any, certificates: Any, token_file: Any
) -> None:
    server = await running.server(listen=("0.0.0.0:0",), token_file=token_file, **tls(certificates))
    port = server.addresses[0].rpartition(":")[2]
    credentials = grpc.ssl_channel_credentials(certificates.read("ca.crt"))
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        call = channel.unary_unary("/subgrpc.v1.ClusterService/ListClusters")
        assert await call(b"", metadata=bearer("secret-of-bob"))
    async with grpc.aio.insecure_channel(f"localhost:{port}") as channel:
        call = channel.unary_unary("/subgrpc.v1.ClusterService/ListClusters")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", metadata=bearer("secret-of-bob"))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(("who", "name"), [("alice", "alice"), ("robot", "spiffe://lab/robot")])
async def test_a_client_certificate_names_its_caller(
    running: Any, certificates: Any, who: Any, name: Any
) -> None:
    server = await running.server(tls_client_ca=certificates.path("ca.crt"), **tls(certificates))
    api = running.api(server, client_credentials(certificates, who))
    assert (await api.create()).creator == name


@pytest.mark.parametrize("who", ["", "mallory"])
async def test_a_client_without_a_certificate_of_ours_is_not_let_in(
    running: Any, certificates: Any, who: Any, refused: Any
) -> None:
    server = await running.server(tls_client_ca=certificates.path("ca.crt"), **tls(certificates))
    api = running.api(server, client_credentials(certificates, who))
    assert (await refused(api.create())).code == grpc.StatusCode.UNAVAILABLE


def client_credentials(certificates: Any, who: str) -> grpc.ChannelCredentials:
    authority = certificates.read("ca.crt")
    if not who:
        return grpc.ssl_channel_credentials(authority)
    return grpc.ssl_channel_credentials(
        authority, certificates.read(f"{who}.key"), certificates.read(f"{who}.crt")
    )


@pytest.mark.parametrize(
    "text", ["", "# hunter22\n", "hunter22\n", "hunter22 b c\n", "hunter22 b\nhunter22 c\n", "\xff"]
)
def test_a_token_file_that_is_wrong_is_refused_without_showing_it(tmp_path: Any, text: Any) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(FailedPrecondition) as caught:
        read_tokens(path)
    assert caught.value.reason == "TOKEN_FILE_INVALID"
    assert "hunter22" not in caught.value.message


def test_a_token_file_that_is_missing_is_refused(tmp_path: Any) -> None:
    with pytest.raises(FailedPrecondition, match="cannot be read"):
        read_tokens(tmp_path / "none")


def test_a_token_may_hold_any_visible_character(tmp_path: Any) -> None:
    path = tmp_path / "tokens"
    path.write_text("a#b/c==  carol   # a comment\n")
    assert list(read_tokens(path).values()) == ["carol"]
