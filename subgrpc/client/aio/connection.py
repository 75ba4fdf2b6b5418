"""The channels of a client for asyncio, opened when they are first needed, and calls on them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

import grpc
import grpc.aio

from subgrpc.client.channel import Target
from subgrpc.client.statuses import client_closed, from_rpc
from subgrpc.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from subgrpc.v1.cluster_service_pb2_grpc import ClusterServiceStub
from subgrpc.v1.experiment_service_pb2_grpc import ExperimentServiceStub
from subgrpc.v1.model_registry_service_pb2_grpc import ModelRegistryServiceStub

if TYPE_CHECKING:
    from subgrpc.v1.artifact_service_pb2_grpc import ArtifactServiceAsyncStub
    from subgrpc.v1.cluster_service_pb2_grpc import ClusterServiceAsyncStub
    from subgrpc.v1.experiment_service_pb2_grpc import ExperimentServiceAsyncStub
    from subgrpc.v1.model_registry_service_pb2_grpc import ModelRegistryServiceAsyncStub

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
FrameT_co = TypeVar("FrameT_co", covariant=True)
Method: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT]"
"""A method of a stub."""


class AsyncCall(Protocol[FrameT_co]):
    """A running call that yields frames."""

    def read(self) -> Coroutine[Any, Any, FrameT_co | Any]:
        """The next frame, or `grpc.aio.EOF`."""

    def cancel(self) -> bool:
        """Ends the call."""


class AsyncReader(Generic[FrameT_co]):
    """Reads the frames of one call."""

    def __init__(self, call: AsyncCall[FrameT_co], connection: AsyncConnection) -> None:
        self._call = call
        self._connection = connection
        self._cancelled = False

    async def read(self) -> FrameT_co | None:
        """The next frame; None: the server ended the call as it should, or `cancel` did.

        Raises:
            RpcError: the call failed.
            FailedPrecondition: reason CLIENT_CLOSED.
        """
        try:
            frame = await self._call.read()
        except asyncio.CancelledError as error:
            # gRPC raises this also in a task that nobody cancels, when its call is.
            if self._cancelled and not _task_is_cancelled():
                return None
            if self._connection.closed and not _task_is_cancelled():
                raise client_closed() from error
            raise
        return None if frame is grpc.aio.EOF else frame

    def cancel(self) -> None:
        """Ends the call; a `read` in another task then returns None."""
        self._cancelled = True
        self._call.cancel()


class AsyncFlag:
    """Something that happens once, and can be waited for."""

    def __init__(self) -> None:
        self._happened = False
        self._waiter: asyncio.Event | None = None

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._happened

    def set(self) -> None:
        """Lets it happen."""
        self._happened = True
        if self._waiter is not None:
            self._waiter.set()

    async def pause(self, seconds: float) -> None:
        """Waits so long, or until it happens."""
        self._waiter = asyncio.Event()  # it belongs to the loop that runs now
        try:
            await asyncio.wait_for(self._waiter.wait(), seconds)
        except asyncio.TimeoutError:
            return


class _Channels:
    """A channel for unary calls and one for streams, with their stubs, of one event loop."""

    def __init__(self, target: Target) -> None:
        self._owner = _owner()
        self._unary = target.open_aio(streams=False)
        self._streaming = target.open_aio(streams=True)
        self.experiments = ExperimentServiceStub(self._unary)
        self.clusters = ClusterServiceStub(self._unary)
        self.artifacts = ArtifactServiceStub(self._unary)
        self.streams = ExperimentServiceStub(self._streaming)
        self.artifact_streams = ArtifactServiceStub(self._streaming)
        self.models = ModelRegistryServiceStub(self._unary)
        self.model_streams = ModelRegistryServiceStub(self._streaming)

    def is_ours(self) -> bool:
        """Whether they were opened by this process, in the loop that runs now."""
        return self._owner == _owner()

    async def close(self) -> None:
        await self._unary.close()
        await self._streaming.close()


class AsyncConnection:
    """Opens channels when they are needed; may be used in one event loop after the other.

    Args:
        target: the server.
        timeout: seconds that a unary call may take.
    """

    def __init__(self, target: Target, timeout: float) -> None:
        self.target, self.timeout = target, timeout
        self.closed = False
        self._channels: _Channels | None = None

    @property
    def experiments(self) -> ExperimentServiceAsyncStub:
        """The methods of ExperimentService that are unary."""
        return self._open().experiments

    @property
    def clusters(self) -> ClusterServiceAsyncStub:
        """The methods of ClusterService."""
        return self._open().clusters

    @property
    def artifacts(self) -> ArtifactServiceAsyncStub:
        """The methods of ArtifactService that are unary."""
        return self._open().artifacts

    @property
    def artifact_streams(self) -> ArtifactServiceAsyncStub:
        """The methods of ArtifactService that are streams."""
        return self._open().artifact_streams

    @property
    def models(self) -> ModelRegistryServiceAsyncStub:
        """The methods of ModelRegistryService that are unary."""
        return self._open().models

    @property
    def model_streams(self) -> ModelRegistryServiceAsyncStub:
        """The methods of ModelRegistryService that are streams."""
        return self._open().model_streams

    @property
    def streams(self) -> ExperimentServiceAsyncStub:
        """The methods of ExperimentService that are streams."""
        return self._open().streams

    async def call(self, method: Method[RequestT, ResponseT], request: RequestT) -> ResponseT:
        """Performs a unary call.

        Raises:
            SubgrpcError: it failed, or the client is closed.
        """
        return (await self.call_with_trailer(method, request))[0]

    async def call_with_trailer(
        self, method: Method[RequestT, ResponseT], request: RequestT
    ) -> tuple[ResponseT, dict[str, str | bytes]]:
        """As `call`; also returns the metadata that came behind the answer."""
        metadata = self.target.metadata
        try:
            call = method(request, timeout=self.timeout, metadata=metadata)
            response = await call
            return response, dict(await call.trailing_metadata() or ())
        except grpc.RpcError as error:
            raise from_rpc(error, self.target.address) from error
        except asyncio.CancelledError as error:
            # So gRPC ends the calls of a channel that is closed.
            if self.closed and not _task_is_cancelled():
                raise client_closed() from error
            raise

    async def close(self) -> None:
        """Ends all calls and closes the channels, for good."""
        self.closed = True
        channels, self._channels = self._channels, None
        if channels is not None and channels.is_ours():
            await channels.close()

    def _open(self) -> _Channels:
        if self.closed:
            raise client_closed()
        if self._channels is None or not self._channels.is_ours():
            self._channels = _Channels(self.target)
        return self._channels


def _owner() -> tuple[int, asyncio.AbstractEventLoop]:
    return os.getpid(), asyncio.get_running_loop()


def _task_is_cancelled() -> bool:
    """Whether somebody cancelled this task; Python 3.10 does not tell, and then it is not."""
    task = asyncio.current_task()
    asked = getattr(task, "cancelling", None)
    return bool(asked and asked())
