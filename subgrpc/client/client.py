"""The client: one method per call, with the answer's resource instead of its envelope."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import grpc

from subgrpc import names
from subgrpc.client.channel import DEFAULT_ADDRESS, Credentials, open_channel
from subgrpc.client.statuses import mapped
from subgrpc.client.streams import PATIENCE, Call, Stream
from subgrpc.client.waiting import wait
from subgrpc.errors import SubgrpcError
from subgrpc.v1 import cluster_service_pb2 as clusters_v1
from subgrpc.v1 import experiment_service_pb2 as v1
from subgrpc.v1.cluster_service_pb2 import Cluster
from subgrpc.v1.cluster_service_pb2_grpc import ClusterServiceStub
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentEvent, Task
from subgrpc.v1.experiment_service_pb2_grpc import ExperimentServiceStub
from subgrpc.v1.types_pb2 import LogStream

DEFAULT_PARENT = names.team_name(names.DEFAULT_TEAM)
VERSION_KEY = "x-subgrpc-version"
"""The trailing metadata in which a server tells its version."""
RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


def connect(address: str = DEFAULT_ADDRESS, *, timeout: float = 30.0, **credentials: str) -> Client:
    """Returns a client of the server at `HOST:PORT` or `unix:PATH`.

    Args:
        address: where the server listens.
        timeout: seconds that one unary call may take.
        **credentials: `token`, `ca`, `cert`, `key`, as in `Credentials`.

    Raises:
        InvalidArgument: the address or a file is wrong. Nothing is connected to before the first
            call.
    """
    return Client(address, Credentials(**credentials), timeout=timeout)


class Client:
    """A connection to one server; may be used from several threads.

    Every method raises `SubgrpcError` subclasses: `NotFound`, `InvalidArgument` with violations,
    `Unavailable` with reason SERVER_UNREACHABLE when no server answers, and so on. Calls are tried
    again on UNAVAILABLE; mutations carry a request id, so that this is harmless.
    """

    def __init__(
        self, address: str, credentials: Credentials | None = None, *, timeout: float = 30.0
    ) -> None:
        credentials = credentials or Credentials()
        self.address = address
        self._timeout = timeout
        self._metadata = credentials.metadata
        self._unary = open_channel(address, credentials, streams=False)
        self._streaming = open_channel(address, credentials, streams=True)
        self._experiments = ExperimentServiceStub(self._unary)
        self._clusters = ClusterServiceStub(self._unary)
        self._streams = ExperimentServiceStub(self._streaming)

    def close(self) -> None:
        """Closes the connections; running streams end with an error."""
        self._unary.close()
        self._streaming.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def create_experiment(
        self,
        experiment: Experiment,
        *,
        parent: str = DEFAULT_PARENT,
        experiment_id: str = "",
        validate_only: bool = False,
    ) -> Experiment:
        """Creates an experiment in state QUEUED; it is durable when this returns."""
        request = v1.CreateExperimentRequest(
            parent=parent,
            experiment_id=experiment_id,
            experiment=experiment,
            request_id=str(uuid.uuid4()),
            validate_only=validate_only,
        )
        return self._call(self._experiments.CreateExperiment, request).experiment

    def get_experiment(self, name: str) -> Experiment:
        """Returns one experiment."""
        request = v1.GetExperimentRequest(name=name)
        return self._call(self._experiments.GetExperiment, request).experiment

    def batch_get_experiments(
        self, experiments: Iterable[str], *, parent: str = DEFAULT_PARENT
    ) -> list[Experiment]:
        """Returns several experiments of one team, in the order asked for."""
        request = v1.BatchGetExperimentsRequest(parent=parent, names=experiments)
        return list(self._call(self._experiments.BatchGetExperiments, request).experiments)

    def list_experiments(
        self,
        *,
        parent: str = DEFAULT_PARENT,
        filter: str = "",  # noqa: A002 - the name of the request's field
        order_by: str = "",
        page_size: int = 0,
    ) -> Iterator[Experiment]:
        """Yields experiments, page after page, newest first unless `order_by` says otherwise."""
        request = v1.ListExperimentsRequest(
            parent=parent, filter=filter, order_by=order_by, page_size=page_size
        )
        while True:
            page = self._call(self._experiments.ListExperiments, request)
            yield from page.experiments
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def update_experiment(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        display_name: str | None = None,
        etag: str = "",
    ) -> Experiment:
        """Replaces an experiment's labels, its display name, or both; None leaves it alone."""
        request = v1.UpdateExperimentRequest(request_id=str(uuid.uuid4()))
        request.experiment.name, request.experiment.etag = name, etag
        if labels is not None:
            request.experiment.labels.update(labels)
            request.update_mask.paths.append("labels")
        if display_name is not None:
            request.experiment.display_name = display_name
            request.update_mask.paths.append("display_name")
        if not request.update_mask.paths:
            return self.get_experiment(name)
        return self._call(self._experiments.UpdateExperiment, request).experiment

    def cancel_experiment(self, name: str, *, message: str = "") -> Experiment:
        """Asks for an experiment's end and returns it as it is now, CANCELLING as a rule."""
        request = v1.CancelExperimentRequest(
            name=name, message=message, request_id=str(uuid.uuid4())
        )
        return self._call(self._experiments.CancelExperiment, request).experiment

    def delete_experiment(
        self, name: str, *, force: bool = False, allow_missing: bool = False
    ) -> Experiment | None:
        """Deletes an experiment for good; None: there was none, and `allow_missing` was set."""
        request = v1.DeleteExperimentRequest(
            name=name, force=force, allow_missing=allow_missing, request_id=str(uuid.uuid4())
        )
        answer = self._call(self._experiments.DeleteExperiment, request)
        return answer.experiment if answer.HasField("experiment") else None

    def list_tasks(self, parent: str, *, filter: str = "") -> Iterator[Task]:  # noqa: A002
        """Yields the tasks of an experiment's latest attempt, or of an attempt."""
        request = v1.ListTasksRequest(parent=parent, filter=filter, page_size=1000)
        while True:
            page = self._call(self._experiments.ListTasks, request)
            yield from page.tasks
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def list_events(self, parent: str) -> Iterator[ExperimentEvent]:
        """Yields an experiment's history, oldest first."""
        request = v1.ListExperimentEventsRequest(parent=parent, page_size=1000)
        while True:
            page = self._call(self._experiments.ListExperimentEvents, request)
            yield from page.events
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def get_cluster(self, name: str) -> Cluster:
        """Returns one cluster, by `clusters/NAME` or `NAME`."""
        request = clusters_v1.GetClusterRequest(name=names.cluster_name(name))
        return self._call(self._clusters.GetCluster, request).cluster

    def list_clusters(self) -> Iterator[Cluster]:
        """Yields the clusters by name."""
        request = clusters_v1.ListClustersRequest()
        while True:
            page = self._call(self._clusters.ListClusters, request)
            yield from page.clusters
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def server_version(self) -> str:
        """Returns the server's version of subgrpc; empty if it does not tell."""
        with mapped(self.address):
            _, call = self._clusters.ListClusters.with_call(
                clusters_v1.ListClustersRequest(page_size=1),
                timeout=self._timeout,
                metadata=self._metadata,
            )
        for key, value in call.trailing_metadata() or ():
            if key == VERSION_KEY:
                return value.decode() if isinstance(value, bytes) else value
        return ""

    def follow_logs(
        self,
        name: str,
        *,
        follow: bool = True,
        stream: LogStream.ValueType = LogStream.LOG_STREAM_UNSPECIFIED,
        tail_lines: int | None = None,
        text: bool = False,
        resume_token: str = "",
        patience: float = PATIENCE,
        on_loss: Callable[[SubgrpcError], None] | None = None,
        on_back: Callable[[], None] | None = None,
    ) -> Stream[v1.StreamLogsResponse]:
        """Returns the output of an experiment, an attempt or a task: every byte once, in order.

        It goes on over lost connections, restarted and draining servers; see `Stream`.

        Args:
            name: the experiment's, attempt's or task's name.
            follow: go on until it has ended; else stop at what is there now.
            stream: only this one; by default both.
            tail_lines: start with about the last so many lines of the latest attempt.
            text: chunks as `text` instead of `data`.
            resume_token: of a frame received earlier by the same request.
            patience: as in `Stream`.
            on_loss: as in `Stream`.
            on_back: as in `Stream`.
        """
        request = v1.StreamLogsRequest(
            name=name,
            stream=stream,
            follow=follow,
            tail_lines=tail_lines,
            format=v1.LogFormat.LOG_FORMAT_TEXT if text else v1.LogFormat.LOG_FORMAT_BYTES,
        )

        def open_call(token: str) -> Call[v1.StreamLogsResponse]:
            request.resume_token = token
            return self._streams.StreamLogs(request, metadata=self._metadata)

        return Stream(
            open_call,
            address=self.address,
            resume_token=resume_token,
            patience=patience,
            on_loss=on_loss,
            on_back=on_back,
        )

    def watch(
        self,
        *,
        parent: str = DEFAULT_PARENT,
        filter: str = "",  # noqa: A002
        until_terminal: bool = False,
        resume_token: str = "",
        patience: float = PATIENCE,
        deadline: float | None = None,
        on_loss: Callable[[SubgrpcError], None] | None = None,
        on_back: Callable[[], None] | None = None,
    ) -> Stream[v1.WatchExperimentsResponse]:
        """Returns the experiments that match a filter, then every change in commit order.

        Args:
            parent: the team.
            filter: as in `list_experiments`.
            until_terminal: end once all that matched have ended.
            resume_token: of a frame received earlier by the same request.
            patience: as in `Stream`.
            deadline: `time.monotonic()` after which it fails with `Unavailable`,
                reason DEADLINE_EXCEEDED.
            on_loss: as in `Stream`.
            on_back: as in `Stream`.
        """
        request = v1.WatchExperimentsRequest(
            parent=parent, filter=filter, until_terminal=until_terminal
        )

        def open_call(token: str) -> Call[v1.WatchExperimentsResponse]:
            request.resume_token = token
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            return self._streams.WatchExperiments(request, timeout=left, metadata=self._metadata)

        return Stream(
            open_call,
            address=self.address,
            resume_token=resume_token,
            patience=patience,
            on_loss=on_loss,
            on_back=on_back,
        )

    def wait(
        self,
        name: str,
        *,
        timeout: float | None = None,
        until: Callable[[Experiment], bool] | None = None,
        patience: float = PATIENCE,
        on_loss: Callable[[SubgrpcError], None] | None = None,
        on_back: Callable[[], None] | None = None,
    ) -> Experiment:
        """Returns an experiment once it has ended, whatever happens to the connection.

        With `until`: once that holds for one of the states that it goes through; it is asked about
        every change, and may be about ends that come without what was waited for.

        Raises:
            NotFound: there is none, or it was deleted meanwhile.
            Unavailable: reason DEADLINE_EXCEEDED after `timeout` seconds.
        """
        return wait(
            self,
            name,
            timeout=timeout,
            patience=patience,
            on_loss=on_loss,
            on_back=on_back,
            until=until,
        )

    def _call(
        self, method: grpc.UnaryUnaryMultiCallable[RequestT, ResponseT], request: RequestT
    ) -> ResponseT:
        with mapped(self.address):
            return method(request, timeout=self._timeout, metadata=self._metadata)
