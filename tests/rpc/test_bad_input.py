"""Whatever a client sends is answered clearly, never with INTERNAL, and harms nobody else."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subgrpc.config import Limits
from subgrpc.v1 import experiment_service_pb2 as pb
from subgrpc.v1.cluster_service_pb2 import ListClustersRequest

TEAM = "teams/default"
SERVICE = "/subgrpc.v1.ExperimentService"
UNARY = [
    *("CreateExperiment", "GetExperiment", "BatchGetExperiments", "ListExperiments"),
    *("UpdateExperiment", "CancelExperiment", "DeleteExperiment", "ListTasks"),
    "ListExperimentEvents",
]
STREAMS = ["WatchExperiments", "StreamLogs"]


def raw_call(api: Any, method: str, body: bytes, timeout: float = 5.0) -> Any:
    """Sends bytes, whatever they are."""
    make = api.channel.unary_stream if method in STREAMS else api.channel.unary_unary
    call = make(f"{SERVICE}/{method}")(body, timeout=timeout)
    return call.read() if method in STREAMS else call


@pytest.mark.parametrize("method", UNARY + STREAMS)
@pytest.mark.parametrize("body", [b"\xff" * 40, b"\x0a\x05ab", b"\x0a\x02\xff\xfe"])
async def test_what_is_no_message_is_an_invalid_argument(
    api: Any, refused: Any, method: Any, body: Any
) -> None:
    failure = await refused(raw_call(api, method, body))
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.reason == "MALFORMED_REQUEST"


@pytest.mark.parametrize("method", UNARY + STREAMS)
async def test_an_empty_request_is_answered_with_what_is_missing(
    api: Any, refused: Any, method: Any
) -> None:
    failure = await refused(raw_call(api, method, b""))
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.violations


async def test_fields_of_newer_clients_are_ignored(api: Any) -> None:
    request = api.request("new")
    unknown = b"\xfa\x3e\x03abc"  # field 1007
    answer = await raw_call(api, "CreateExperiment", request.SerializeToString() + unknown)
    assert pb.CreateExperimentResponse.FromString(answer).experiment.name.endswith("/new")


async def test_a_field_of_the_wrong_type_is_as_if_it_were_not_there(api: Any, refused: Any) -> None:
    """`name` as a number: protobuf takes it for an unknown field, and the name is missing."""
    failure = await refused(raw_call(api, "GetExperiment", b"\x08\x01"))
    assert failure.violations == {"name": "must be set"}


async def test_a_spec_of_10_mb_is_refused_and_the_connection_lives(api: Any, refused: Any) -> None:
    request = api.request()
    request.experiment.spec.description = "x" * 10_000_000
    failure = await refused(api.stub.CreateExperiment(request))
    assert failure.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    request.experiment.spec.description = "x" * 1_000_000
    failure = await refused(api.stub.CreateExperiment(request))
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert "experiment.spec" in failure.violations
    await api.create()


@pytest.mark.parametrize(
    "name",
    [
        *("", "x", "teams/default/experiments/", "teams/default/experiments/../../etc/passwd"),
        *("teams/default/experiments/a\x00b", "teams/default/experiments/a\nb", "//", "/" * 200),
        *("teams/default/experiments/A", "teams/default/experiments/" + "a" * 5000),
        *("teams/default/experiments/ü", "teams/default/experiments/a%2Fb", "teams/../x"),
    ],
)
async def test_strange_names_are_invalid(api: Any, refused: Any, name: Any) -> None:
    failure = await refused(api.get(name))
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert set(failure.violations) == {"name"}
    assert failure.size < 8192


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda s: setattr(s, "cluster", "mars"), "cluster"),
        (lambda s: setattr(s.task_groups[0], "command", "both"), "task_groups[0].args"),
        (lambda s: s.task_groups.add(role="idle"), "task_groups[1].command"),
        (lambda s: s.task_groups.add(role="main", args=["x"]), "task_groups[1].role"),
        (lambda s: s.task_groups.add(role="b", args=[""]), "task_groups[1].args[0]"),
        (lambda s: s.env.add(name="SUBGRPC_X", value="1"), "env[0].name"),
        (lambda s: s.env.add(name="A", secret="nowhere"), "env[0].secret"),
        (lambda s: s.env.add(name="A", secret="teams/other/secrets/x"), "env[0].secret"),
        (
            lambda s: setattr(s.task_groups[0].resources, "cpu", "NaN"),
            "task_groups[0].resources.cpu",
        ),
    ],
)
async def test_impossible_specs_are_refused_with_the_place(
    api: Any, refused: Any, change: Any, field: Any
) -> None:
    request = api.request()
    change(request.experiment.spec)
    failure = await refused(api.stub.CreateExperiment(request))
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert set(failure.violations) == {f"experiment.spec.{field}"}


async def test_an_unknown_cluster_is_answered_with_the_known_ones(api: Any, refused: Any) -> None:
    request = api.request()
    request.experiment.spec.cluster = "clusters/mars"
    failure = await refused(api.stub.CreateExperiment(request))
    assert failure.reason == "UNKNOWN_CLUSTER"
    assert "mars" in failure.message
    assert "fake" in failure.message


async def test_another_team_is_not_found(api: Any, refused: Any) -> None:
    request = api.request()
    request.parent = "teams/mars"
    for call in (
        api.stub.CreateExperiment(request),
        api.stub.ListExperiments(pb.ListExperimentsRequest(parent="teams/mars")),
        api.stub.WatchExperiments(pb.WatchExperimentsRequest(parent="teams/mars")).read(),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "TEAM_NOT_FOUND")


@pytest.mark.parametrize("size", [-1, 1001, 2**31 - 1])
async def test_page_sizes_have_limits(api: Any, refused: Any, size: Any) -> None:
    request = pb.ListExperimentsRequest(parent=TEAM, page_size=size)
    failure = await refused(api.stub.ListExperiments(request))
    assert "page_size" in failure.violations


@pytest.mark.parametrize("text", ["state = BOGUS", "((((", "size > 3", "labels.a b", "a" * 4097])
async def test_filters_that_cannot_be_read_are_invalid(api: Any, refused: Any, text: Any) -> None:
    for call in (
        api.stub.ListExperiments(pb.ListExperimentsRequest(parent=TEAM, filter=text)),
        api.watch(filter=text).read(),
    ):
        failure = await refused(call)
        assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
        assert "filter" in failure.violations


async def test_a_status_stays_small_however_many_mistakes_there_are(api: Any, refused: Any) -> None:
    request = api.request()
    for number in range(32):
        request.experiment.spec.task_groups.add(role="Ä" * 20, command="x\0" * 100)
        request.experiment.labels["ß" * 60 + str(number)] = "\n" * 300
    failure = await refused(api.stub.CreateExperiment(request))
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    total = sum(len(str(k)) + len(v) * 4 // 3 for k, v in failure.trailing.items())
    assert total + 3 * len(failure.message.encode()) < 8192
    assert int(failure.metadata["omittedViolations"]) > 0


async def test_a_stream_that_is_half_closed_without_a_request_is_ended(
    api: Any, refused: Any
) -> None:
    for method in STREAMS:
        call = api.channel.stream_stream(f"{SERVICE}/{method}")(timeout=5)
        await call.done_writing()
        failure = await refused(call.read())
        assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
        assert failure.reason == "MALFORMED_REQUEST"


async def test_a_second_request_in_a_stream_of_one_harms_nobody(api: Any) -> None:
    call = api.channel.stream_stream(f"{SERVICE}/WatchExperiments")(timeout=5)
    body = pb.WatchExperimentsRequest(parent=TEAM).SerializeToString()
    await call.write(body)
    await call.write(b"\xff\xff")
    await call.done_writing()
    frame = pb.WatchExperimentsResponse.FromString(await call.read())
    assert frame.bookmark.type == pb.BOOKMARK_TYPE_INITIAL_STATE_COMPLETE
    call.cancel()
    await api.create()


async def test_an_unknown_method_is_unimplemented(api: Any, refused: Any) -> None:
    call = api.channel.unary_unary(f"{SERVICE}/StealExperiment")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_client_that_goes_away_in_the_middle_leaves_nothing(
    running: Any, server: Any, api: Any
) -> None:
    watches = [api.watch() for _ in range(20)]
    for watch in watches:
        await watch.read()
        watch.cancel()
    await api.create()
    await running.stop(server)  # would take `drain` seconds if one of them were still counted


async def test_calls_are_limited_per_second(running: Any, refused: Any) -> None:
    limits = Limits(calls_per_second=5)
    api = running.api(await running.server(limits=limits))
    answers = await asyncio.gather(
        *(api.clusters.ListClusters(ListClustersRequest()) for _ in range(50)),
        return_exceptions=True,
    )
    failures = [each for each in answers if isinstance(each, grpc.aio.AioRpcError)]
    assert failures
    assert {each.code() for each in failures} == {grpc.StatusCode.RESOURCE_EXHAUSTED}


async def test_streams_are_limited_per_caller(running: Any, refused: Any) -> None:
    api = running.api(await running.server(limits=Limits(streams=2)))
    first, second = api.watch(), api.watch()
    await first.read()
    await second.read()
    failure = await refused(api.watch().read())
    assert failure.reason == "TOO_MANY_STREAMS"
    assert failure.retry_after
    first.cancel()
    third = api.watch()
    for _ in range(200):
        try:
            await third.read()
            break
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.01)
            third = api.watch()
    else:
        raise AssertionError("the stream that ended is still counted")


BYTES = st.binary(max_size=200)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=BYTES, method=st.sampled_from(UNARY))
def test_no_bytes_are_an_internal_error(grpc_addr: Any, body: Any, method: Any) -> None:
    """Random bytes, and random bytes behind a valid beginning."""
    with grpc.insecure_channel(grpc_addr) as channel:
        call = channel.unary_unary(f"{SERVICE}/{method}")
        prefix = pb.GetExperimentRequest(name=f"{TEAM}/experiments/x").SerializeToString()
        for data in (body, prefix + body):
            code = _code(call, data)
            assert code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), data


def _code(call: Any, data: bytes) -> grpc.StatusCode:
    try:
        call(data, timeout=10)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK
