# Made from aio/clusters.py by tools/make_sync_client.py: change that.
"""The clusters of a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from subgrpc.v1.cluster_service_pb2 import Cluster

if TYPE_CHECKING:
    from subgrpc.client.calls import Calls


class Clusters:
    """The clusters of a server: the places where experiments run."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def get(self, name: str) -> Cluster:
        """Returns a cluster with its health, capacity and use.

        Raises:
            NotFound: there is none of that name.
        """
        return self._calls.get_cluster(name)

    def list(self) -> Iterator[Cluster]:
        """Yields the clusters by name."""
        return self._calls.list_clusters()
