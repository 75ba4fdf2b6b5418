"""What is published about a cluster: its record, and why experiments wait while it is away."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from subgrpc import reasons
from subgrpc.driver import DriverDescription
from subgrpc.errors import Unavailable
from subgrpc.metastore import Fence, Metastore, Transaction
from subgrpc.v1.cluster_service_pb2 import Cluster, ClusterHealth
from subgrpc.v1.experiment_service_pb2 import EXPERIMENT_STATE_QUEUED

_log = structlog.get_logger(__name__)


class ClusterRecord:
    """The published state of one cluster, written by its leader only."""

    def __init__(self, store: Metastore, fence: Fence, cluster: Cluster) -> None:
        self._store = store
        self._fence = fence
        self._cluster = cluster

    @property
    def healthy(self) -> bool:
        """Whether it was healthy when last looked at."""
        return self._cluster.health == ClusterHealth.CLUSTER_HEALTH_HEALTHY

    async def publish(self) -> None:
        """Writes the record as it is."""
        self._cluster.check_time.GetCurrentTime()
        await self._store.write_unversioned(
            lambda tx: tx.save_cluster(self._cluster), fence=self._fence
        )

    async def works(self, description: DriverDescription) -> None:
        """The cluster is healthy, and its driver says this of it."""
        cluster = Cluster(
            name=self._cluster.name,
            driver=self._cluster.driver,
            default=self._cluster.default,
            health=ClusterHealth.CLUSTER_HEALTH_HEALTHY,
            capabilities=description.capabilities,
            platform=description.platform,
            capacity=description.capacity,
            allocated=description.allocated,
            default_request=description.default_request,
            options_schema=description.options_schema,
            check_time=self._cluster.check_time,
        )
        if cluster != self._cluster:
            self._cluster = cluster
            await self.publish()

    async def fails(self, reason: str, message: str) -> None:
        """The cluster is unhealthy; every experiment that waits for it says so."""
        _log.error("cluster.unhealthy", cluster=self._cluster.name, reason=reason, error=message)
        self._cluster.health = ClusterHealth.CLUSTER_HEALTH_UNHEALTHY
        self._cluster.reason, self._cluster.message = reason, message
        try:
            await self.publish()
            await self.explain(await self._store.unsettled(self._fence.cluster))
        except Unavailable as error:
            _log.warning("cluster.publish", cluster=self._cluster.name, error=error.message)

    async def explain(self, uids: Iterable[str]) -> None:
        """While the cluster is unhealthy, says so in those of these experiments that wait."""
        if self.healthy or not self._cluster.reason:
            return
        cluster = self._cluster
        text = f"{cluster.name} is unhealthy ({cluster.reason}): {cluster.message}"

        def mutate(tx: Transaction) -> None:
            for uid in uids:
                experiment = tx.experiment(uid)
                if experiment is None or experiment.state != EXPERIMENT_STATE_QUEUED:
                    continue
                attempt = tx.attempt(uid, experiment.attempt)
                if attempt is None or not attempt.stopping:  # else it says why it is stopped
                    experiment.reason, experiment.message = reasons.CLUSTER_UNHEALTHY, text
                    tx.save_experiment(experiment)

        await self._store.write(mutate, fence=self._fence)
