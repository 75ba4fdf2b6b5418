"""A metastore that fails in the moment in which a cluster begins to be led."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from subgrpc.config import ClusterSettings
from subgrpc.engine import Engine, EngineSettings
from subgrpc.errors import Unavailable
from subgrpc.journal import JournalStore
from subgrpc.metastore import Fence, Metastore
from subgrpc.metastore.writer import Mutation, Writer
from subgrpc.plugins import PluginManager
from subgrpc.secrets import FileSecrets
from subgrpc.testing.fake import FakeBackend

from .conftest import now, until

T = TypeVar("T")


class Faltering(Writer):
    """Commits the first write, and then none for a while."""

    writes = 0

    async def submit(
        self, mutation: Mutation[T], fence: Fence | None, versioned: bool, ordered: bool = False
    ) -> T:
        self.writes += 1
        if 1 < self.writes < 5:
            raise Unavailable("the disk is full", reason="METASTORE_UNAVAILABLE")
        return await super().submit(mutation, fence, versioned, ordered)


class Store(Metastore):
    writer_class = Faltering


async def test_the_cluster_is_led_once_the_metastore_is_back(tmp_path: Path) -> None:
    """Its lease was taken, and its record could not be stored."""
    store = await Store.open(tmp_path)
    plugins = PluginManager()
    plugins.register(FakeBackend().plugin())
    engine = Engine(
        metastore=store,
        journals=JournalStore(tmp_path / "journals"),
        plugins=plugins,
        secrets=FileSecrets(tmp_path / "secrets"),
        settings=EngineSettings(
            clusters={"one": ClusterSettings("fake")},
            default_cluster="one",
            data_dir=tmp_path / "clusters",
            server=store.server_id,
            lease_length=0.1,
        ),
    )
    await engine.start()
    await until(lambda: now(store.get_cluster("clusters/one")) is not None)
    await engine.stop()
    await store.close()
