"""Servers whose way to PostgreSQL goes through toxiproxy."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc.aio
import pytest

from subgrpc.config import ClusterSettings, ServerConfig
from subgrpc.plugins import PluginManager
from subgrpc.rpc.server import Server
from subgrpc.testing.fake import FakeBackend
from subgrpc.v1.experiment_service_pb2_grpc import ExperimentServiceStub


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Toxiproxy:
    """A toxiproxy server, by its HTTP API."""

    def __init__(self, port: int) -> None:
        self._api = f"http://127.0.0.1:{port}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._api + path, data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def ready(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                self.call("GET", "/proxies")
            except (urllib.error.URLError, ValueError):
                assert time.monotonic() < deadline, "toxiproxy does not answer"
                time.sleep(0.05)
            else:
                return


class Way:
    """The way to a database, which can be poisoned."""

    def __init__(self, toxiproxy: Toxiproxy, url: str) -> None:
        parts = urlsplit(url)
        self._toxiproxy = toxiproxy
        port = free_port()
        self._name = f"postgres{port}"
        proxy = {
            "name": self._name,
            "listen": f"127.0.0.1:{port}",
            "upstream": f"{parts.hostname}:{parts.port}",
        }
        toxiproxy.call("POST", "/proxies", proxy)
        self.url = parts._replace(netloc=f"{parts.username}@127.0.0.1:{port}").geturl()

    def poison(self, kind: str, stream: str = "downstream", **attributes: int) -> None:
        """Adds a toxic; see toxiproxy's own documentation for the kinds."""
        toxic = {"name": f"{kind}-{stream}", "type": kind, "stream": stream}
        path = f"/proxies/{self._name}/toxics"
        self._toxiproxy.call("POST", path, {**toxic, "attributes": attributes})

    def swallow(self) -> None:
        """Nothing comes through any more, in either direction, and nobody is told."""
        for stream in ("downstream", "upstream"):
            self.poison("timeout", stream, timeout=0)

    def heal(self) -> None:
        for toxic in self._toxiproxy.call("GET", f"/proxies/{self._name}/toxics"):
            self._toxiproxy.call("DELETE", f"/proxies/{self._name}/toxics/{toxic['name']}")

    def enable(self, enabled: bool) -> None:
        """Ends every connection and refuses new ones, or accepts them again."""
        self._toxiproxy.call("POST", f"/proxies/{self._name}", {"enabled": enabled})


@pytest.fixture(scope="session")
def toxiproxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toxiproxy]:
    path = os.pathsep.join((os.environ.get("TOOLS_PATH", ""), os.environ["PATH"]))
    program = shutil.which("toxiproxy-server", path=path)
    if program is None:
        pytest.skip("no toxiproxy-server: see tests/testbeds/README.md")
    port = free_port()
    log = tmp_path_factory.mktemp("toxiproxy") / "log"
    with log.open("wb") as sink:
        child = subprocess.Popen([program, "-port", str(port)], stdout=sink, stderr=sink)
    try:
        made = Toxiproxy(port)
        made.ready()
        yield made
    finally:
        child.terminate()
        child.wait(20)


@pytest.fixture
def way(toxiproxy: Toxiproxy, tmp_path: Path, databases: Any) -> Way:
    return Way(toxiproxy, databases.of(tmp_path))


Start = Callable[[str, str], Any]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a server with a data folder of that name and that database; returns its stub."""
    servers: list[Server] = []
    channels: list[grpc.aio.Channel] = []

    async def start(name: str, url: str) -> Any:
        backend = FakeBackend()
        backend.holding = True
        plugins = PluginManager()
        plugins.register(backend.plugin())
        config = ServerConfig(
            data_dir=tmp_path / name,
            database=url,
            listen=("127.0.0.1:0",),
            clusters={"fake": ClusterSettings("fake")},
            heartbeat=1.0,
            drain=1.0,
        )
        server = Server(config, plugins=plugins)
        await server.start()
        servers.append(server)
        channels.append(grpc.aio.insecure_channel(server.addresses[0]))
        return ExperimentServiceStub(channels[-1])

    yield start
    for channel in channels:
        await channel.close()
    for server in servers:
        await server.stop()
