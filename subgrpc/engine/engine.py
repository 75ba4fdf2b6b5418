"""The engine: leads every configured cluster. The only caller of drivers."""

from __future__ import annotations

import asyncio
import os
import socket

import structlog

from subgrpc import names
from subgrpc.engine.cluster import ClusterController, Parts
from subgrpc.engine.settings import EngineSettings
from subgrpc.errors import FieldViolation, InvalidArgument, Unavailable
from subgrpc.journal import JournalStore
from subgrpc.metastore import Metastore, Transaction
from subgrpc.plugins import PluginManager
from subgrpc.secrets import FileSecrets
from subgrpc.v1.cluster_service_pb2 import Cluster
from subgrpc.v1.experiment_service_pb2 import Experiment

READY_WITHIN = 1.0
"""Seconds that `Engine.start` waits for clusters to become ready; slower ones come later."""
PRUNE_EVERY = 300.0
"""Seconds between two removals of changes and request ids that are no longer kept."""

_log = structlog.get_logger(__name__)


class Engine:
    """Leads clusters; `start` and `stop` are called once each, on one event loop."""

    def __init__(
        self,
        *,
        metastore: Metastore,
        journals: JournalStore,
        plugins: PluginManager,
        secrets: FileSecrets,
        settings: EngineSettings,
    ) -> None:
        self._store = metastore
        parts = Parts(
            store=metastore,
            journals=journals,
            plugins=plugins,
            secrets=secrets,
            holder=f"{socket.gethostname()}:{os.getpid()}",
            data_dir=settings.data_dir,
        )
        self._controllers = {
            name: ClusterController(name, cluster, parts, default=name == settings.default_cluster)
            for name, cluster in settings.clusters.items()
        }
        self._pruner: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to lead the clusters; waits a little for them to be ready."""
        await self._remove_other_clusters()
        for controller in self._controllers.values():
            await controller.start()
        ready = [asyncio.create_task(each.ready.wait()) for each in self._controllers.values()]
        if ready:
            _, late = await asyncio.wait(ready, timeout=READY_WITHIN)
            for waiter in late:
                waiter.cancel()
        self._pruner = asyncio.create_task(self._prune(), name="prune")

    async def stop(self) -> None:
        """Stops leading. Experiments go on."""
        if self._pruner is not None:
            self._pruner.cancel()
            await asyncio.gather(self._pruner, return_exceptions=True)
        await asyncio.gather(*(controller.stop() for controller in self._controllers.values()))

    def wake(self, uid: str) -> None:
        """An experiment was created or changed: it is looked at now."""
        raw = self._store.get_experiment_by_uid(uid)
        if raw is None:
            return
        cluster = Experiment.FromString(raw).cluster.removeprefix("clusters/")
        controller = self._controllers.get(cluster)
        if controller is not None:
            controller.wake(uid)

    async def validate(self, cluster: str, experiment: Experiment) -> None:
        """Checks that a cluster is there and that its driver can run an experiment.

        Raises:
            InvalidSpec: the driver never can; field paths start at `experiment.spec`.
            InvalidArgument: there is no such cluster.
        """
        controller = self._controllers.get(cluster.removeprefix("clusters/"))
        if controller is None:
            known = ", ".join(sorted(self._controllers)) or "none"
            text = f"there is no {names.cluster_name(cluster)}; configured: {known}"
            raise InvalidArgument(violations=[FieldViolation("cluster", text, "UNKNOWN_CLUSTER")])
        await controller.validate(experiment)

    async def _remove_other_clusters(self) -> None:
        """Forgets clusters that are no longer configured; their experiments stay."""
        stored = [Cluster.FromString(raw).name for raw in self._store.list_clusters()]
        others = [
            name for name in stored if name.removeprefix("clusters/") not in self._controllers
        ]

        def mutate(tx: Transaction) -> None:
            for name in others:
                tx.remove_cluster(name)

        if others:
            await self._store.write_unversioned(mutate)

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_EVERY)
            try:
                await self._store.prune()
            except Unavailable as error:
                _log.warning("prune.failed", error=error.message)
