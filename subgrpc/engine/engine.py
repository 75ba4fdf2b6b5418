"""The engine: leads every configured cluster. The only caller of drivers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from subgrpc import names
from subgrpc.engine.cluster import ClusterController, Parts
from subgrpc.engine.content import Artifacts
from subgrpc.engine.fetching import ArtifactReader
from subgrpc.engine.settings import EngineSettings
from subgrpc.errors import FieldViolation, InvalidArgument, Unavailable
from subgrpc.journal import JournalStore
from subgrpc.metastore import EXPERIMENTS, Change, Metastore, Transaction
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
        artifacts: Artifacts | None = None,
        inputs: ArtifactReader | None = None,
    ) -> None:
        """Without `artifacts` and `inputs` experiments can have neither outputs nor inputs."""
        self._store = metastore
        parts = Parts(
            store=metastore,
            journals=journals,
            plugins=plugins,
            secrets=secrets,
            server=settings.server,
            lease_length=settings.lease_length,
            data_dir=settings.data_dir,
            artifacts=artifacts,
            inputs=inputs,
        )
        self._controllers = {
            name: ClusterController(name, cluster, parts, default=name == settings.default_cluster)
            for name, cluster in settings.clusters.items()
        }
        self._former: dict[str, ClusterController] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self._parts = parts
        self._pruner: asyncio.Task[None] | None = None
        self._forget: Callable[[], None] = _nothing

    async def start(self) -> None:
        """Begins to lead the clusters; waits a little for them to be ready."""
        if self._store.shared:
            self._forget = self._store.feed.listen_foreign(self._changed_elsewhere)
        else:
            await self._remove_other_clusters()
        for controller in self._every_controller():
            await controller.start()
        ready = [asyncio.create_task(each.ready.wait()) for each in self._controllers.values()]
        if ready:
            _, late = await asyncio.wait(ready, timeout=READY_WITHIN)
            for waiter in late:
                waiter.cancel()
        self._pruner = asyncio.create_task(self._prune(), name="prune")

    async def stop(self) -> None:
        """Stops leading. Experiments go on."""
        self._forget()
        await asyncio.gather(*self._chores, return_exceptions=True)
        if self._pruner is not None:
            self._pruner.cancel()
            await asyncio.gather(self._pruner, return_exceptions=True)
        await asyncio.gather(*(controller.stop() for controller in self._every_controller()))

    def wake(self, uid: str, cluster: str) -> None:
        """An experiment was created or changed in its cluster: it is looked at now."""
        cluster = cluster.removeprefix("clusters/")
        controller = self._controllers.get(cluster) or self._former.get(cluster)
        if controller is None and self._store.shared:
            return  # configured on another server, or on none
        if controller is None:
            controller = self._former[cluster] = self._former_cluster(cluster)
            start = asyncio.create_task(self._start_former(cluster, controller))
            self._chores.add(start)
            start.add_done_callback(self._chores.discard)
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

    def _changed_elsewhere(self, changes: Sequence[Change]) -> None:
        """Another server has changed experiments: those of clusters that are led here are woken."""
        for change in changes:
            if change.kind != EXPERIMENTS.name:
                continue
            if change.after is not None:
                experiment = Experiment.FromString(change.after)
                self.wake(experiment.uid, experiment.cluster)
            else:
                self._discard(change.uid)

    def _discard(self, uid: str) -> None:
        """Removes what this server has of the output of an experiment that is gone."""
        removal = asyncio.create_task(asyncio.to_thread(self._parts.journals.delete, uid))
        self._chores.add(removal)
        removal.add_done_callback(self._discarded)

    def _discarded(self, removal: asyncio.Task[None]) -> None:
        self._chores.discard(removal)
        if not removal.cancelled() and (error := removal.exception()) is not None:
            _log.warning("logs.discard", error=str(error))

    async def _remove_other_clusters(self) -> None:
        """Forgets clusters that are no longer configured, unless something waits for them."""
        stored = [Cluster.FromString(raw).name for raw in await self._store.list_clusters()]
        others = {name.removeprefix("clusters/") for name in stored} - self._controllers.keys()
        needed = {name for name in others if await self._store.unsettled(name)}
        for name in sorted(needed):
            self._former[name] = self._former_cluster(name)

        def mutate(tx: Transaction) -> None:
            for name in others - needed:
                tx.remove_cluster(name)

        if others - needed:
            await self._store.write_unversioned(mutate)

    def _former_cluster(self, name: str) -> ClusterController:
        return ClusterController(name, None, self._parts, default=False)

    async def _start_former(self, name: str, controller: ClusterController) -> None:
        """Leads a cluster that is configured no more, since one of its experiments was changed."""
        try:
            await controller.start()
        except Unavailable as error:
            del self._former[name]  # tried again with the next change
            _log.warning("cluster.start", cluster=name, error=error.message)

    def _every_controller(self) -> list[ClusterController]:
        return [*self._controllers.values(), *self._former.values()]

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_EVERY)
            try:
                await self._store.prune()
            except Unavailable as error:
                _log.warning("prune.failed", error=error.message)


def _nothing() -> None:
    """There is nothing to forget."""
