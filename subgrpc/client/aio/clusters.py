"""The clusters of a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from subgrpc.v1.cluster_service_pb2 import Cluster

if TYPE_CHECKING:
    from subgrpc.client.aio.calls import AsyncCalls


class AsyncClusters:
    """The clusters of a server: the places where experiments run."""

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def get(self, name: str) -> Cluster:
        """Returns a cluster with its health, capacity and use.

        Raises:
            NotFound: there is none of that name.
        """
        return await self._calls.get_cluster(name)

    def list(self) -> AsyncIterator[Cluster]:
        """Yields the clusters by name."""
        return self._calls.list_clusters()
