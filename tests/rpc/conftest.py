"""A real server on a free port, with the fake driver behind it."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import uvloop
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from subgrpc.config import ClusterSettings, ServerConfig
from subgrpc.errors import FieldViolation
from subgrpc.plugins import PluginManager
from subgrpc.rpc.server import Server
from subgrpc.rpc.status import DETAILS_KEY
from subgrpc.testing.fake import FakeBackend, FakeRun
from subgrpc.v1 import experiment_service_pb2 as pb
from subgrpc.v1.cluster_service_pb2_grpc import ClusterServiceStub
from subgrpc.v1.experiment_service_pb2_grpc import ExperimentServiceStub
from subgrpc.v1.model_registry_service_pb2_grpc import ModelRegistryServiceStub
from subgrpc.v1.types_pb2 import TaskState

from .registry import STORED
from .seeds import seed

TEAM = "teams/default"


@dataclass
class Failure:
    """A status as a client reads it."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    violations: dict[str, str]
    retry_after: float | None
    size: int
    trailing: dict[str, Any]


def _read_failure(error: grpc.aio.AioRpcError) -> Failure:
    """Decodes a status and its google.rpc details."""
    trailing = dict(error.trailing_metadata() or ())
    raw = trailing.get(DETAILS_KEY, b"")
    info, violations, retry = error_details_pb2.ErrorInfo(), {}, None
    for detail in Status.FromString(raw).details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            violations = {each.field: each.description for each in bad.field_violations}
        if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            delay = error_details_pb2.RetryInfo()
            detail.Unpack(delay)
            retry = delay.retry_delay.ToNanoseconds() / 1e9
    return Failure(
        code=error.code(),
        message=error.details() or "",
        reason=info.reason,
        metadata=dict(info.metadata),
        violations=violations,
        retry_after=retry,
        size=len(raw) + len((error.details() or "").encode()),
        trailing=trailing,
    )


async def _refused(call: Awaitable[Any]) -> Failure:
    """Awaits a call that must fail; returns its status."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return _read_failure(caught.value)


async def _until(condition: Callable[[], Any], timeout: float = 10.0) -> Any:
    """Polls until something is true; returns it."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.01)
    return value


@dataclass
class Api:
    """A client of one server, with what tests say often."""

    channel: grpc.aio.Channel
    metadata: tuple[tuple[str, str], ...] = ()
    stub: Any = field(init=False)
    clusters: Any = field(init=False)
    models: Any = field(init=False)

    def __post_init__(self) -> None:
        self.stub = ExperimentServiceStub(self.channel)
        self.clusters = ClusterServiceStub(self.channel)
        self.models = ModelRegistryServiceStub(self.channel)

    def request(self, experiment_id: str = "", **extra: Any) -> pb.CreateExperimentRequest:
        """A valid request: one role, one task."""
        request = pb.CreateExperimentRequest(parent=TEAM, experiment_id=experiment_id, **extra)
        request.experiment.spec.task_groups.add(args=["train"])
        return request

    async def create(self, experiment_id: str = "", **labels: str) -> pb.Experiment:
        request = self.request(experiment_id)
        request.experiment.labels.update(labels)
        return (await self.stub.CreateExperiment(request)).experiment

    async def get(self, name: str) -> pb.Experiment:
        return (await self.stub.GetExperiment(pb.GetExperimentRequest(name=name))).experiment

    async def until_state(self, name: str, state: str, timeout: float = 10.0) -> pb.Experiment:
        wanted = pb.ExperimentState.Value(f"EXPERIMENT_STATE_{state}")
        deadline = time.monotonic() + timeout
        while (experiment := await self.get(name)).state != wanted:
            assert time.monotonic() < deadline, experiment
            await asyncio.sleep(0.01)
        return experiment

    async def until_gone(self, name: str, timeout: float = 10.0) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                await self.get(name)
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.NOT_FOUND:
                    return
                raise
            await asyncio.sleep(0.01)
        raise AssertionError(f"{name} is still there")

    def watch(self, **fields: Any) -> Any:
        return self.stub.WatchExperiments(pb.WatchExperimentsRequest(parent=TEAM, **fields))


class Fake:
    """The fake backend, with what tests say often."""

    def __init__(self) -> None:
        self.backend = FakeBackend()

    def hold(self) -> None:
        """Called before the server starts: its experiments stay as the test makes them."""
        self.backend.holding = True

    def refuse(self, text: str) -> None:
        """From now on every workload is objected to."""
        self.backend.violations = [FieldViolation("groups[0].resources.cpu", text)]

    async def run(self, uid: str, attempt: int = 1) -> FakeRun:
        """A run, once it was submitted."""
        await _until(lambda: (uid, attempt) in self.backend.runs)
        return self.backend.runs[uid, attempt]

    async def observe(
        self, uid: str, state: str, attempt: int = 1, exit_code: int | None = None
    ) -> None:
        """Puts the only task of a run into a state."""
        await self.run(uid, attempt)
        value = TaskState.Value(f"TASK_STATE_{state}")
        self.backend.observe((uid, attempt), "main", 0, value, exit_code=exit_code)

    async def stopped(self, uid: str) -> None:
        """Ends the only task of a run as soon as its stop is asked for."""
        run = await self.run(uid)
        await _until(lambda: run.stops)
        await self.observe(uid, "CANCELLED")


@dataclass
class Certificates:
    """PEM files: an authority, a server, a client, and one of somebody else's."""

    folder: Path

    def path(self: Any, name: str) -> Path:
        return self.folder / name

    def read(self: Any, name: str) -> bytes:
        return self.path(name).read_bytes()


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_authority(folder: Path, name: str) -> None:
    openssl(
        folder,
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", f"{name}.key", "-out", f"{name}.crt", "-days", "2", "-subj", f"/CN={name}"),
    )


def make_certificate(folder: Path, name: str, authority: str, subject: str, san: str) -> None:
    openssl(
        folder,
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject),
    )
    (folder / f"{name}.ext").write_text(f"subjectAltName={san}\n" if san else "")
    openssl(
        folder,
        *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.crt"),
        *("-CAkey", f"{authority}.key", "-CAcreateserial", "-days", "2"),
        *("-extfile", f"{name}.ext", "-out", f"{name}.crt"),
    )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    make_authority(folder, "ca")
    make_authority(folder, "stranger-ca")
    make_certificate(folder, "server", "ca", "/CN=server", "DNS:localhost,IP:127.0.0.1")
    make_certificate(folder, "alice", "ca", "/CN=alice", "")
    make_certificate(folder, "robot", "ca", "/CN=x", "URI:spiffe://lab/robot")
    make_certificate(folder, "mallory", "stranger-ca", "/CN=alice", "")
    return Certificates(folder)


class Running:
    """Starts servers and clients, and closes them at the end."""

    def __init__(self, data_dir: Path, databases: Any) -> None:
        self.data_dir = data_dir
        self.databases = databases
        self.backend = Fake()
        self._servers: list[Server] = []
        self._channels: list[grpc.aio.Channel] = []

    def config(self, **changes: Any) -> ServerConfig:
        folder = changes.get("data_dir", self.data_dir)
        base = ServerConfig(
            data_dir=self.data_dir,
            database=self.databases.of(folder),
            listen=("127.0.0.1:0",),
            clusters={"fake": ClusterSettings("fake")},
            drain=1.0,
        )
        return replace(base, **changes)

    async def server(self, **changes: Any) -> Server:
        plugins = PluginManager()
        plugins.register(self.backend.backend.plugin())
        server = Server(self.config(**changes), plugins=plugins)
        await server.start()
        self._servers.append(server)
        return server

    def api(
        self,
        server: Server,
        credentials: grpc.ChannelCredentials | None = None,
        options: tuple[tuple[str, Any], ...] = (),
        token: str = "",
    ) -> Api:
        # A channel of its own, also towards the same address.
        options = (("grpc.use_local_subchannel_pool", 1), *options)
        if credentials is None:
            channel = grpc.aio.insecure_channel(server.addresses[0], options=options)
        else:
            channel = grpc.aio.secure_channel(server.addresses[0], credentials, options=options)
        self._channels.append(channel)
        return Api(channel, (("authorization", f"Bearer {token}"),) if token else ())

    async def stop(self, server: Server) -> None:
        self._servers.remove(server)
        await server.stop()

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()
        for server in self._servers:
            await server.stop()


@pytest.fixture
async def running(tmp_path: Path, databases: Any) -> AsyncIterator[Running]:
    running = Running(tmp_path / "data", databases)
    yield running
    await running.close()


@pytest.fixture
def backend(running: Running) -> Fake:
    return running.backend


@pytest.fixture
async def server(running: Running) -> Server:
    return await running.server()


@pytest.fixture
def api(running: Running, server: Server) -> Api:
    return running.api(server)


@pytest.fixture
def finish(backend: Fake) -> Callable[[str], Awaitable[None]]:
    """Lets the only task of an experiment run and succeed."""

    async def finish(uid: str) -> None:
        await backend.observe(uid, "RUNNING")
        await backend.observe(uid, "SUCCEEDED")

    return finish


@pytest.fixture
def refused() -> Callable[[Awaitable[Any]], Awaitable[Failure]]:
    """Awaits a call that must fail; returns its status."""
    return _refused


@pytest.fixture
def until() -> Callable[..., Awaitable[Any]]:
    """Polls until something is true; returns it."""
    return _until


@pytest.fixture(scope="module")
def grpc_addr(tmp_path_factory: pytest.TempPathFactory, module_databases: Any) -> Iterator[str]:
    """The address of a server as `subgrpc up` runs it: on uvloop, here in a thread of its own.

    This is pytest-grpc's fixture: with `grpc_server` below, its channels lead to this server.
    """
    running = Running(tmp_path_factory.mktemp("module") / "data", module_databases)
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        try:
            server = await running.server()
        except BaseException as error:
            started.set_exception(error)
            raise
        started.set_result((server.addresses[0], asyncio.get_running_loop(), stop))
        await stop.wait()
        await running.close()

    thread = threading.Thread(target=uvloop.run, args=(serve(),))
    thread.start()
    address, loop, stop = started.result(timeout=20)
    yield address
    loop.call_soon_threadsafe(stop.set)
    thread.join(timeout=20)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def grpc_server(grpc_addr: str) -> str:
    """pytest-grpc's own server, which knows no aio, is not started."""
    return grpc_addr


@pytest.fixture
async def models(running: Running) -> Any:
    """The model registry of a server whose data folder has some artifacts: `registry.STORED`."""
    await seed(running, *STORED)
    return running.api(await running.server()).models
