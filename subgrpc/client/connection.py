"""The channels of a client that blocks, opened when they are first needed, and calls on them."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from typing import Generic, Protocol, TypeAlias, TypeVar

import grpc

from subgrpc.client.channel import Target
from subgrpc.client.statuses import client_closed, from_rpc
from subgrpc.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from subgrpc.v1.cluster_service_pb2_grpc import ClusterServiceStub
from subgrpc.v1.experiment_service_pb2_grpc import ExperimentServiceStub
from subgrpc.v1.model_registry_service_pb2_grpc import ModelRegistryServiceStub

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
FrameT_co = TypeVar("FrameT_co", covariant=True)
Method: TypeAlias = "grpc.UnaryUnaryMultiCallable[RequestT, ResponseT]"
"""A method of a stub."""


class Call(Protocol[FrameT_co]):
    """A running call that yields frames."""

    def __iter__(self) -> Iterator[FrameT_co]:
        """The frames."""

    def cancel(self) -> bool:
        """Ends the call."""


class Reader(Generic[FrameT_co]):
    """Reads the frames of one call."""

    def __init__(self, call: Call[FrameT_co], connection: Connection) -> None:
        self._call = call
        self._connection = connection

    def read(self) -> FrameT_co | None:
        """The next frame; None: the server ended the call as it should.

        Raises:
            RpcError: the call failed, or was cancelled.
            FailedPrecondition: reason CLIENT_CLOSED.
        """
        try:
            return next(iter(self._call), None)
        except grpc.RpcError as error:
            if self._connection.closed:
                raise client_closed() from error
            raise

    def cancel(self) -> None:
        """Ends the call; a `read` in another thread then fails."""
        self._call.cancel()


class Flag(threading.Event):
    """Something that happens once, and can be waited for."""

    def pause(self, seconds: float) -> None:
        """Waits so long, or until it happens."""
        self.wait(seconds)


class _Channels:
    """A channel for unary calls and one for streams, with their stubs."""

    def __init__(self, target: Target) -> None:
        self._unary = target.open(streams=False)
        self._streaming = target.open(streams=True)
        self.experiments = ExperimentServiceStub(self._unary)
        self.clusters = ClusterServiceStub(self._unary)
        self.artifacts = ArtifactServiceStub(self._unary)
        self.streams = ExperimentServiceStub(self._streaming)
        self.artifact_streams = ArtifactServiceStub(self._streaming)
        self.models = ModelRegistryServiceStub(self._unary)
        self.model_streams = ModelRegistryServiceStub(self._streaming)

    def close(self) -> None:
        self._unary.close()
        self._streaming.close()


class Connection:
    """Opens channels when they are needed; may be used from several threads, and after a fork.

    Args:
        target: the server.
        timeout: seconds that a unary call may take.
    """

    def __init__(self, target: Target, timeout: float) -> None:
        self.target, self.timeout = target, timeout
        self.closed = False
        self._lock = threading.Lock()
        self._channels: _Channels | None = None
        _connections.add(self)

    @property
    def experiments(self) -> ExperimentServiceStub:
        """The methods of ExperimentService that are unary."""
        return self._open().experiments

    @property
    def clusters(self) -> ClusterServiceStub:
        """The methods of ClusterService."""
        return self._open().clusters

    @property
    def artifacts(self) -> ArtifactServiceStub:
        """The methods of ArtifactService that are unary."""
        return self._open().artifacts

    @property
    def artifact_streams(self) -> ArtifactServiceStub:
        """The methods of ArtifactService that are streams."""
        return self._open().artifact_streams

    @property
    def models(self) -> ModelRegistryServiceStub:
        """The methods of ModelRegistryService that are unary."""
        return self._open().models

    @property
    def model_streams(self) -> ModelRegistryServiceStub:
        """The methods of ModelRegistryService that are streams."""
        return self._open().model_streams

    @property
    def streams(self) -> ExperimentServiceStub:
        """The methods of ExperimentService that are streams."""
        return self._open().streams

    def call(self, method: Method[RequestT, ResponseT], request: RequestT) -> ResponseT:
        """Performs a unary call.

        Raises:
            SubgrpcError: it failed, or the client is closed.
        """
        return self.call_with_trailer(method, request)[0]

    def call_with_trailer(
        self, method: Method[RequestT, ResponseT], request: RequestT
    ) -> tuple[ResponseT, dict[str, str | bytes]]:
        """As `call`; also returns the metadata that came behind the answer."""
        metadata = self.target.metadata
        try:
            response, call = method.with_call(request, timeout=self.timeout, metadata=metadata)
        except grpc.RpcError as error:
            if self.closed:
                raise client_closed() from error
            raise from_rpc(error, self.target.address) from error
        except ValueError as error:  # gRPC's word for a channel that was closed a moment ago
            if self.closed:
                raise client_closed() from error
            raise
        return response, dict(call.trailing_metadata() or ())

    def close(self) -> None:
        """Ends all calls and closes the channels, for good."""
        with self._lock:
            self.closed = True
            channels, self._channels = self._channels, None
        if channels is not None:
            channels.close()

    def forget(self) -> None:
        """In a process that was forked: leaves the parent's channels alone, and its lock."""
        self._lock = threading.Lock()
        if self._channels is not None:
            # Not even closed: their connections and threads are the parent's.
            _inherited.append(self._channels)
            self._channels = None

    def _open(self) -> _Channels:
        with self._lock:
            if self.closed:
                raise client_closed()
            if self._channels is None:
                self._channels = _Channels(self.target)
            return self._channels


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()
_inherited: list[_Channels] = []


def _forget_all() -> None:
    for connection in list(_connections):
        connection.forget()


os.register_at_fork(after_in_child=_forget_all)
