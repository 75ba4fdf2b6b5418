"""The server as a whole: standard services, logs, listeners, start and stop."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from subgrpc.config import ClusterSettings
from subgrpc.errors import DataLoss, FailedPrecondition, InvalidArgument
from subgrpc.v1 import cluster_service_pb2 as clusters_pb
from subgrpc.v1 import experiment_service_pb2 as pb
from subgrpc.v1.experiment_service_pb2_grpc import ExperimentServiceStub

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = ("subgrpc.v1.ExperimentService", "subgrpc.v1.ClusterService")


async def test_clusters_are_shown_with_their_health(api: Any, refused: Any) -> None:
    page = await api.clusters.ListClusters(clusters_pb.ListClustersRequest())
    assert [cluster.name for cluster in page.clusters] == ["clusters/fake"]
    one = await api.clusters.GetCluster(clusters_pb.GetClusterRequest(name="clusters/fake"))
    assert one.cluster.driver == "fake"
    assert one.cluster.default
    assert one.cluster.health == clusters_pb.CLUSTER_HEALTH_HEALTHY
    assert one.cluster.default_request.cpu == "100m"
    failure = await refused(
        api.clusters.GetCluster(clusters_pb.GetClusterRequest(name="clusters/mars"))
    )
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "CLUSTER_NOT_FOUND")


async def test_clusters_come_in_pages(running: Any) -> None:
    names = ["a", "b", "c", "d", "e"]
    settings = ClusterSettings("fake")
    api = running.api(await running.server(clusters=dict.fromkeys(names, settings)))
    seen, token = [], ""
    while True:
        page = await api.clusters.ListClusters(
            clusters_pb.ListClustersRequest(page_size=2, page_token=token)
        )
        seen += [cluster.name.removeprefix("clusters/") for cluster in page.clusters]
        token = page.next_page_token
        if not token:
            break
    assert seen == names


async def test_a_cluster_whose_driver_is_missing_is_unhealthy_and_says_why(running: Any) -> None:
    clusters = {"local": ClusterSettings("no-such-driver")}
    api = running.api(await running.server(clusters=clusters))
    got = await api.clusters.GetCluster(clusters_pb.GetClusterRequest(name="clusters/local"))
    assert got.cluster.health == clusters_pb.CLUSTER_HEALTH_UNHEALTHY
    assert "no-such-driver" in got.cluster.message


async def test_health_is_known_for_each_service_and_ends_with_the_server(
    running: Any, server: Any, api: Any
) -> None:
    stub = health_pb2_grpc.HealthStub(api.channel)
    for service in ("", *SERVICES):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == SERVING
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICES[0]))
    assert (await watch.read()).status == SERVING
    began = time.monotonic()
    await running.stop(server)
    assert time.monotonic() - began < 0.9
    assert (await watch.read()).status == NOT_SERVING


async def test_reflection_knows_every_service_and_all_it_needs(api: Any) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(api.channel)

    async def ask(**request: str) -> reflection_pb2.ServerReflectionResponse:
        call = stub.ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(**request))
        answer = await call.read()
        await call.done_writing()
        return answer

    listed = await ask(list_services="")
    names = {each.name for each in listed.list_services_response.service}
    assert names > {*SERVICES, "grpc.health.v1.Health", "grpc.channelz.v1.Channelz"}
    found = await ask(file_containing_symbol=SERVICES[0])
    files = {
        FileDescriptorProto.FromString(raw).name
        for raw in found.file_descriptor_response.file_descriptor_proto
    }
    assert {"subgrpc/v1/experiment_service.proto", "subgrpc/v1/spec.proto"} <= files
    method = await ask(file_containing_symbol=f"{SERVICES[0]}.GetExperiment")
    assert method.HasField("file_descriptor_response")
    for nothing in (f"{SERVICES[0]}.NoSuchMethod", "no.such.Service.Method", "nonsense"):
        assert (await ask(file_containing_symbol=nothing)).HasField("error_response")


async def test_channelz_shows_this_server(api: Any) -> None:
    stub = channelz_pb2_grpc.ChannelzStub(api.channel)
    servers = (await stub.GetServers(channelz_pb2.GetServersRequest())).server
    assert any(each.data.calls_started for each in servers)


async def test_every_answer_names_its_call(api: Any, refused: Any) -> None:
    """The caller's own request id comes back; a strange one is replaced."""
    name = pb.GetExperimentRequest(name="teams/default/experiments/x")
    call = api.stub.GetExperiment(name, metadata=(("x-request-id", "my-id-1"),))
    assert (await refused(call)).trailing["x-request-id"] == "my-id-1"
    call = api.stub.GetExperiment(name, metadata=(("x-request-id", "a b" * 100),))
    assert len((await refused(call)).trailing["x-request-id"]) == 16
    call = api.clusters.ListClusters(clusters_pb.ListClustersRequest())
    await call
    assert "x-request-id" in dict(await call.trailing_metadata())


async def test_a_second_server_on_the_port_is_refused_and_harms_nothing(
    running: Any, server: Any, api: Any, tmp_path: Path
) -> None:
    address = server.addresses[0]
    with pytest.raises(FailedPrecondition) as caught:
        await running.server(listen=(address,), data_dir=tmp_path / "other")
    assert caught.value.reason == "ADDRESS_IN_USE"
    assert address in caught.value.message
    await api.create()
    # Nothing of the second one stays: its data folder can be used at once.
    await running.server(data_dir=tmp_path / "other")


async def test_a_second_server_on_the_data_folder_is_refused(
    running: Any, server: Any, api: Any
) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        await running.server()
    assert caught.value.reason == "DATA_DIR_LOCKED"
    assert str(os.getpid()) in caught.value.message
    await api.create()


@pytest.mark.sqlite
async def test_a_damaged_database_is_refused_and_left_as_it_is(
    running: Any, server: Any, api: Any
) -> None:
    await api.create()
    await running.stop(server)
    database = next(running.data_dir.glob("*.db"))
    damaged = b"this is no database" * 1000
    database.write_bytes(damaged)
    with pytest.raises(DataLoss):
        await running.server()
    assert database.read_bytes() == damaged


async def test_an_address_that_cannot_be_bound_is_refused(running: Any) -> None:
    with pytest.raises(FailedPrecondition, match="cannot listen"):
        await running.server(listen=("unix:/nonexistent/folder/socket",))


async def test_a_unix_socket_is_the_owners_alone(
    running: Any, tmp_path: Path, refused: Any
) -> None:
    path = tmp_path / "s"
    server = await running.server(listen=(f"unix:{path}", "127.0.0.1:0"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await running.api(server).create()
    with pytest.raises(FailedPrecondition) as caught:
        await running.server(listen=(f"unix:{path}",), data_dir=tmp_path / "other")
    assert caught.value.reason == "ADDRESS_IN_USE"
    await running.api(server).create()
    await running.stop(server)
    again = await running.server(listen=(f"unix:{path}",))
    await running.api(again).create()


async def test_a_socket_that_a_crash_left_is_taken_over(running: Any, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    await running.api(await running.server(listen=(f"unix:{path}",))).create()


async def test_a_file_that_is_no_socket_is_left_alone(running: Any, tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(FailedPrecondition):
        await running.server(listen=(f"unix:{path}",))
    assert path.read_text() == "precious"


async def test_a_call_in_flight_is_answered_while_the_server_stops(
    running: Any, server: Any, api: Any
) -> None:
    calls = [asyncio.ensure_future(api.create(f"e{number}")) for number in range(50)]
    await asyncio.sleep(0)
    await asyncio.gather(running.stop(server), *calls, return_exceptions=True)
    answers = [call.exception() for call in calls]
    for error in answers:
        assert error is None or error.code() == grpc.StatusCode.UNAVAILABLE, error
    again = running.api(await running.server())
    page = await again.stub.ListExperiments(pb.ListExperimentsRequest(parent="teams/default"))
    stored = {each.name for each in page.experiments}
    assert stored >= {call.result().name for call in calls if call.exception() is None}


async def test_a_watcher_that_does_not_read_holds_up_the_stop_only_for_the_drain_time(
    running: Any,
) -> None:
    server = await running.server(drain=0.3)
    api = running.api(server, options=(("grpc.http2.lookahead_bytes", 0),))
    request = api.request("big")
    request.experiment.spec.description = ""
    for number in range(4):
        request.experiment.spec.env.add(name=f"A{number}", value="x" * 32_000)
    await api.stub.CreateExperiment(request)
    stuck = api.watch()
    await stuck.read()
    for number in range(120):
        await api.stub.UpdateExperiment(
            pb.UpdateExperimentRequest(
                experiment={"name": "teams/default/experiments/big", "display_name": str(number)}
            )
        )
    began = time.monotonic()
    await running.stop(server)
    assert time.monotonic() - began < 2


async def test_what_the_configuration_gets_wrong_is_said(running: Any) -> None:
    for listen in ("7411", "localhost", "1.2.3.4:99999", "::1:80", ":80", "unix:"):
        with pytest.raises(InvalidArgument) as caught:
            await running.server(listen=(listen,))
        assert caught.value.reason == "INVALID_LISTENER"


def test_synchronous_clients_are_served_on_uvloop(grpc_channel: Any) -> None:
    """pytest-grpc's channel, in real mode, to a server on the production event loop."""
    stub = ExperimentServiceStub(grpc_channel)
    request = pb.CreateExperimentRequest(parent="teams/default", experiment_id="sync")
    request.experiment.spec.task_groups.add(args=["train"])
    made = stub.CreateExperiment(request, timeout=10).experiment
    assert made.name.endswith("/sync")
    watch = stub.WatchExperiments(pb.WatchExperimentsRequest(parent="teams/default"), timeout=10)
    assert next(iter(watch)).change.experiment.uid == made.uid
    watch.cancel()


async def test_a_mistake_of_ours_is_a_number_and_nothing_else(
    running: Any, server: Any, api: Any, refused: Any
) -> None:
    """What went wrong inside stands in the server's log, under the incident's number."""
    running.backend.backend.violations = 7
    failure = await refused(api.create())
    assert failure.code == grpc.StatusCode.INTERNAL
    assert failure.metadata["incident"] in failure.message
    assert "TypeError" not in failure.message
    running.backend.backend.violations = []
    await api.create()
