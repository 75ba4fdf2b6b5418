"""Servers of the simulation: real engines on one real metastore, which can die and be cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from subgrpc.config import ClusterSettings
from subgrpc.engine import Engine, EngineSettings
from subgrpc.errors import Aborted, Unavailable
from subgrpc.journal import JournalStore
from subgrpc.metastore import Fence, Metastore
from subgrpc.metastore.writer import Writer
from subgrpc.plugins import PluginManager, hookimpl
from subgrpc.secrets import FileSecrets
from tests.unit.engine.test_outputs import Shelf

from .backend import Backend, Link, make_driver

START = 1_800_000_000_000_000
"""When the virtual time begins, in µs."""


class InlineWriter(Writer):
    """Commits on the event loop, in the order of the virtual time; a disk is not what is tested."""

    def _start(self) -> None:
        self._database.run("PRAGMA synchronous=OFF", ())

    def _hand_over(self) -> None:
        if self._gathered:
            group, self._gathered = self._gathered, []
            self._commit(group)

    async def close(self) -> None:
        """Commits what is left, and closes."""
        self._hand_over()
        self._database.close()


class VirtualStore(Metastore):
    """A metastore without a thread."""

    writer_class = InlineWriter


async def open_store(folder: Path) -> Metastore:
    """Opens a metastore whose clock is the loop's."""
    loop = asyncio.get_running_loop()
    return await VirtualStore.open(folder, clock=lambda: START + int(loop.time() * 1e6))


class View:
    """The metastore as one server reaches it: not at all while it is cut off, or dead."""

    def __init__(self, store: Metastore, link: Link, backend: Backend) -> None:
        self._store = store
        self._link = link
        self._backend = backend
        self._underway: set[asyncio.Task[None]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, mutation: Any, *, fence: Any = None) -> Any:
        """As the metastore's."""
        return await self._reach(lambda: self._store.write(mutation, fence=fence), fence)

    async def write_unversioned(self, mutation: Any, *, fence: Any = None) -> Any:
        """As the metastore's."""
        write = self._store.write_unversioned
        return await self._reach(lambda: write(mutation, fence=fence), fence)

    async def _arrive_late(self, write: Callable[[], Any], fence: Fence) -> None:
        """A write that was on its way, or whose server was stopped, until another leads."""
        for _ in range(40):
            await asyncio.sleep(0.5)
            lease = await self._store.lease(fence.cluster)
            if lease is not None and lease.epoch > fence.epoch:
                break
        else:
            return
        try:
            await write()
        except Aborted:
            return
        self._backend.wrongs.append("one that leads no more has written")

    async def _reach(self, write: Callable[[], Any], fence: Fence | None) -> Any:
        if self._link.cut or self._link.dead:
            if fence is not None:
                late = asyncio.create_task(self._arrive_late(write, fence))
                self._underway.add(late)
                late.add_done_callback(self._underway.discard)
            await asyncio.sleep(0.3)
            raise Unavailable("the database is away", reason="METASTORE_UNAVAILABLE")
        answer = await write()
        if self._link.cut:  # it was done, and nobody is told
            raise Unavailable("the database is away", reason="METASTORE_UNAVAILABLE")
        return answer


class TroubledShelf(Shelf):
    """Keeps artifacts, when the network lets it."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._backend = backend

    def _check(self) -> None:
        if self._backend.unlucky(0.5):
            raise Unavailable("the store is away", reason="STORE_UNAVAILABLE")


class Server:
    """One server; after `die` a new one of the same name takes its place."""

    def __init__(
        self,
        name: str,
        cluster: str,
        backend: Backend,
        store: Metastore,
        folder: Path,
        shelf: Shelf,
    ) -> None:
        self.link = Link()
        self.backend = backend
        driver = make_driver(backend, self.link)

        class Plugin:
            """Registers the driver."""

            @hookimpl
            def subgrpc_register_drivers(self) -> dict[str, type]:
                return {"simulated": driver}

        plugins = PluginManager()
        plugins.register(Plugin())
        view: Any = View(store, self.link, backend)
        self.engine = Engine(
            metastore=view,
            journals=JournalStore(folder / name / "journals"),
            plugins=plugins,
            secrets=FileSecrets(folder / "secrets"),
            settings=EngineSettings(
                clusters={cluster: ClusterSettings("simulated")},
                default_cluster=cluster,
                data_dir=folder / name / "clusters",
                server=name,
            ),
            artifacts=shelf,
        )

    async def die(self) -> None:
        """kill -9: what was sent is sent, nothing else is done, the lease is not given up."""
        self.link.dead = True
        await self.engine.stop()

    async def stop(self) -> None:
        """A stop in good order."""
        await self.engine.stop()
        self.link.dead = True
