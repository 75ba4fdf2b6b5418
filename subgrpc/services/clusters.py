"""Clusters: what the engine has published about each."""

from __future__ import annotations

from subgrpc import names
from subgrpc.errors import NotFound
from subgrpc.metastore import ListPage, Metastore
from subgrpc.services import wire
from subgrpc.services.pages import Key, Pager, page_size
from subgrpc.tokens import TokenCodec
from subgrpc.v1 import cluster_service_pb2 as api
from subgrpc.v1.cluster_service_pb2 import Cluster


class ClusterCatalog:
    """The use cases of ClusterService."""

    def __init__(self, store: Metastore, tokens: TokenCodec) -> None:
        self._store = store
        self._tokens = tokens

    async def get(self, request: api.GetClusterRequest) -> bytes:
        """Returns one cluster."""
        names.parse_cluster(request.name)
        stored = await self._store.get_cluster(request.name)
        if stored is None:
            text = f"there is no cluster {request.name}"
            raise NotFound(text, reason="CLUSTER_NOT_FOUND", metadata={"name": request.name})
        return wire.length_delimited(1, stored)

    async def list(self, request: api.ListClustersRequest) -> bytes:
        """Returns one page of the clusters, by name: there are few, so all are read."""
        pager = Pager(self._tokens, "clusters")
        start = pager.start(request.page_token)
        stored = await self._store.list_clusters()
        by_name = {Cluster.FromString(raw).name: raw for raw in stored}
        left = sorted(name for name in by_name if start is None or name > start[0])
        shown = left[: page_size(request.page_size)]
        more: Key | None = [shown[-1]] if len(left) > len(shown) else None
        return pager.response(ListPage([by_name[name] for name in shown], more))
