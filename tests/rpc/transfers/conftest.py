"""Servers in a thread of their own, as clients that block need them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from subgrpc.artifacts import ArtifactStore
from subgrpc.client import Client
from subgrpc.config import ServerConfig
from subgrpc.plugins import PluginManager, hookimpl
from subgrpc.rpc.server import Server
from tests.rpc.transfers.cutter import Cutter

Serve = Callable[..., str]


class StorePlugin:
    """Registers a store of the tests."""

    def __init__(self, scheme: str, kind: type[ArtifactStore]) -> None:
        self._stores = {scheme: kind}

    @hookimpl
    def subgrpc_register_artifact_stores(self) -> dict[str, type[ArtifactStore]]:
        return self._stores


@contextmanager
def serving(config: ServerConfig, plugin: StorePlugin | None = None) -> Iterator[str]:
    """A server as `subgrpc up` runs it; yields its address."""
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        try:
            plugins = PluginManager()
            if plugin is not None:
                plugins.register(plugin)
            server = Server(config, plugins=plugins)
            await server.start()
        except BaseException as error:
            started.set_exception(error)
            raise
        started.set_result((server.addresses[0], asyncio.get_running_loop(), stop))
        await stop.wait()
        await server.stop()

    thread = threading.Thread(target=uvloop.run, args=(serve(),))
    thread.start()
    address, loop, stop = started.result(timeout=20)
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=20)
        assert not thread.is_alive()


def config(data: Path, databases: Any, **more: Any) -> ServerConfig:
    """Settings of a server that runs nothing."""
    return ServerConfig(
        data_dir=data,
        database=databases.of(data),
        listen=("127.0.0.1:0",),
        clusters={},
        drain=1.0,
        **more,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of `address`."""
    return tmp_path_factory.mktemp("module") / "data"


@pytest.fixture(scope="module")
def address(data: Path, module_databases: Any) -> Iterator[str]:
    """The address of a server for the tests that do it no harm."""
    with serving(config(data, module_databases)) as found:
        yield found


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    """A client of it."""
    with Client(address) as made:
        yield made


@pytest.fixture
def serve(tmp_path: Path, databases: Any) -> Iterator[Serve]:
    """`serve()` starts a server with a data folder of its own, `tmp_path / "own"`."""
    with ExitStack() as stack:

        def start(plugin: StorePlugin | None = None, **more: Any) -> str:
            found = config(tmp_path / "own", databases, **more)
            return stack.enter_context(serving(found, plugin))

        yield start


@pytest.fixture
def cutter() -> Iterator[Callable[..., Cutter]]:
    """`cutter(address, …)` lays a bad network before a server."""
    made: list[Cutter] = []

    def lay(*arguments: Any, **options: Any) -> Cutter:
        made.append(Cutter(*arguments, **options))
        return made[-1]

    yield lay
    for each in made:
        each.close()
