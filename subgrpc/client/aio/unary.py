"""The unary calls of the API: one method each, with the answer's resource, not its envelope."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Protocol, TypeVar

from subgrpc import names
from subgrpc.client.aio.connection import AsyncConnection, Method
from subgrpc.v1 import cluster_service_pb2 as clusters_v1
from subgrpc.v1 import experiment_service_pb2 as v1
from subgrpc.v1.cluster_service_pb2 import Cluster
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentEvent, Task

DEFAULT_PARENT = names.team_name(names.DEFAULT_TEAM)
VERSION_KEY = "x-subgrpc-version"
"""The trailing metadata in which a server tells its version."""


class _Paged(Protocol):
    page_token: str


class _Page(Protocol):
    next_page_token: str


RequestT = TypeVar("RequestT", bound=_Paged)
PageT = TypeVar("PageT", bound=_Page)
ItemT = TypeVar("ItemT")


class AsyncUnaryCalls:
    """The methods of `AsyncCalls` that are unary calls, or pages of them."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.address = connection.target.address
        self._connection = connection

    @property
    def connection(self) -> AsyncConnection:
        """What calls go over."""
        return self._connection

    async def create_experiment(
        self,
        experiment: Experiment,
        *,
        parent: str = DEFAULT_PARENT,
        experiment_id: str = "",
        validate_only: bool = False,
        request_id: str = "",
    ) -> Experiment:
        """Creates an experiment in state QUEUED; it is durable when this returns."""
        request = v1.CreateExperimentRequest(
            parent=parent,
            experiment_id=experiment_id,
            experiment=experiment,
            request_id=request_id or str(uuid.uuid4()),
            validate_only=validate_only,
        )
        call = self._connection.call
        return (await call(self._connection.experiments.CreateExperiment, request)).experiment

    async def get_experiment(self, name: str) -> Experiment:
        """Returns one experiment."""
        request = v1.GetExperimentRequest(name=name)
        call = self._connection.call
        return (await call(self._connection.experiments.GetExperiment, request)).experiment

    async def batch_get_experiments(
        self, experiments: Iterable[str], *, parent: str = DEFAULT_PARENT
    ) -> list[Experiment]:
        """Returns several experiments of one team, in the order asked for."""
        request = v1.BatchGetExperimentsRequest(parent=parent, names=experiments)
        call = self._connection.call
        answer = await call(self._connection.experiments.BatchGetExperiments, request)
        return list(answer.experiments)

    def list_experiments(
        self,
        *,
        parent: str = DEFAULT_PARENT,
        filter: str = "",  # noqa: A002 - the name of the request's field
        order_by: str = "",
        page_size: int = 0,
    ) -> AsyncIterator[Experiment]:
        """Yields experiments, page after page, newest first unless `order_by` says otherwise."""
        request = v1.ListExperimentsRequest(
            parent=parent, filter=filter, order_by=order_by, page_size=page_size
        )
        return self._pages(
            lambda: self._connection.experiments.ListExperiments,
            request,
            lambda page: page.experiments,
        )

    async def update_experiment(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        display_name: str | None = None,
        etag: str = "",
        request_id: str = "",
    ) -> Experiment:
        """Replaces an experiment's labels, its display name, or both; None leaves it alone."""
        request = v1.UpdateExperimentRequest(request_id=request_id or str(uuid.uuid4()))
        request.experiment.name, request.experiment.etag = name, etag
        if labels is not None:
            request.experiment.labels.update(labels)
            request.update_mask.paths.append("labels")
        if display_name is not None:
            request.experiment.display_name = display_name
            request.update_mask.paths.append("display_name")
        if not request.update_mask.paths:
            return await self.get_experiment(name)
        call = self._connection.call
        return (await call(self._connection.experiments.UpdateExperiment, request)).experiment

    async def cancel_experiment(
        self, name: str, *, message: str = "", request_id: str = ""
    ) -> Experiment:
        """Asks for an experiment's end and returns it as it is now, CANCELLING as a rule."""
        request = v1.CancelExperimentRequest(
            name=name, message=message, request_id=request_id or str(uuid.uuid4())
        )
        call = self._connection.call
        return (await call(self._connection.experiments.CancelExperiment, request)).experiment

    async def delete_experiment(
        self,
        name: str,
        *,
        force: bool = False,
        allow_missing: bool = False,
        etag: str = "",
        request_id: str = "",
    ) -> Experiment | None:
        """Deletes an experiment for good; None: there was none, and `allow_missing` was set."""
        request = v1.DeleteExperimentRequest(
            name=name,
            force=force,
            etag=etag,
            allow_missing=allow_missing,
            request_id=request_id or str(uuid.uuid4()),
        )
        call = self._connection.call
        answer = await call(self._connection.experiments.DeleteExperiment, request)
        return answer.experiment if answer.HasField("experiment") else None

    def list_tasks(
        self,
        parent: str,
        *,
        filter: str = "",  # noqa: A002
    ) -> AsyncIterator[Task]:
        """Yields the tasks of an experiment's latest attempt, or of an attempt."""
        request = v1.ListTasksRequest(parent=parent, filter=filter, page_size=1000)
        return self._pages(
            lambda: self._connection.experiments.ListTasks, request, lambda page: page.tasks
        )

    def list_events(self, parent: str) -> AsyncIterator[ExperimentEvent]:
        """Yields an experiment's history, oldest first."""
        request = v1.ListExperimentEventsRequest(parent=parent, page_size=1000)
        return self._pages(
            lambda: self._connection.experiments.ListExperimentEvents,
            request,
            lambda page: page.events,
        )

    async def get_cluster(self, name: str) -> Cluster:
        """Returns one cluster, by `clusters/NAME` or `NAME`."""
        request = clusters_v1.GetClusterRequest(name=names.cluster_name(name))
        call = self._connection.call
        return (await call(self._connection.clusters.GetCluster, request)).cluster

    def list_clusters(self) -> AsyncIterator[Cluster]:
        """Yields the clusters by name."""
        request = clusters_v1.ListClustersRequest()
        return self._pages(
            lambda: self._connection.clusters.ListClusters, request, lambda page: page.clusters
        )

    async def server_version(self) -> str:
        """Returns the server's version of subgrpc; empty if it does not tell."""
        request = clusters_v1.ListClustersRequest(page_size=1)
        method = self._connection.clusters.ListClusters
        _, trailer = await self._connection.call_with_trailer(method, request)
        value = trailer.get(VERSION_KEY, "")
        return value.decode() if isinstance(value, bytes) else value

    async def _pages(
        self,
        method: Callable[[], Method[RequestT, PageT]],
        request: RequestT,
        items: Callable[[PageT], Iterable[ItemT]],
    ) -> AsyncIterator[ItemT]:
        while True:
            page = await self._connection.call(method(), request)
            for item in items(page):
                yield item
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
