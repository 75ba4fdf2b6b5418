"""The standard services beside ours: health, reflection, channelz.

Health answers everybody, since load balancers have no credentials. The other two tell what is
inside, so they let a call in as our own services do.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from grpc_channelz.v1 import channelz, channelz_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from subgrpc.errors import SubgrpcError
from subgrpc.rpc.gate import Context, Gate
from subgrpc.rpc.register import Handlers, add_handlers

CHANNELZ = "grpc.channelz.v1.Channelz"


class Health:
    """The health of each service, and of all together (the empty name)."""

    def __init__(self, server: grpc.aio.Server, gate: Gate, services: Iterable[str]) -> None:
        """Registers the health service; nothing is SERVING yet."""
        self._services = ("", *services)
        self._servicer = health.aio.HealthServicer()
        recorder: Any = _Recorder()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, recorder)
        handlers = dict(recorder.services[health.SERVICE_NAME])
        watch = handlers["Watch"]
        handlers["Watch"] = _replaced(watch, unary_stream=_until_draining(watch.unary_stream, gate))
        add_handlers(server, health.SERVICE_NAME, handlers)

    async def serving(self) -> None:
        """Says that every service works."""
        for service in self._services:
            await self._servicer.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def stopping(self) -> None:
        """Says that no service takes calls any more, for good."""
        await self._servicer.enter_graceful_shutdown()


def add_diagnostics(server: grpc.aio.Server, services: Sequence[str], gate: Gate) -> None:
    """Registers reflection of the services, and channelz; both let calls in through the gate."""
    names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME, CHANNELZ)
    recorder = _Recorder()
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(  # type: ignore[no-untyped-call]
        reflection.aio.ReflectionServicer(names, pool=_Symbols()), recorder
    )
    channelz_pb2_grpc.add_ChannelzServicer_to_server(channelz.aio.ChannelzServicer(), recorder)
    for service, handlers in recorder.services.items():
        guarded = {
            name: _guarded(f"{service}/{name}", each, gate) for name, each in handlers.items()
        }
        add_handlers(server, service, guarded)


class _Symbols:
    """The default descriptor pool, which finds methods too: protobuf's own does not by name."""

    def __getattr__(self, name: str) -> Any:
        return getattr(descriptor_pool.Default(), name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - protobuf's
        """The file of a message, enum, service, or method.

        Raises:
            KeyError: there is no such thing.
        """
        pool: Any = descriptor_pool.Default()
        try:
            file: FileDescriptor = pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            descriptor: ServiceDescriptor = pool.FindServiceByName(service)
            if method not in descriptor.methods_by_name:
                raise
            return descriptor.file
        return file


class _Recorder:
    """Takes the place of a server, so that handlers can be changed before they are registered."""

    def __init__(self) -> None:
        self.services: dict[str, Handlers] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """The same handlers come by the other method as well."""

    def add_registered_method_handlers(self, service: str, handlers: Handlers) -> None:
        """Records handlers by method name."""
        self.services[service] = handlers


def _guarded(
    method: str, handler: grpc.RpcMethodHandler[Any, Any], gate: Gate
) -> grpc.RpcMethodHandler[Any, Any]:
    enter = functools.partial(_enter, gate, method)
    if handler.unary_unary is not None:
        return _replaced(handler, unary_unary=_guarded_unary(handler.unary_unary, enter))
    assert handler.stream_stream is not None, method
    stream = _guarded_stream(handler.stream_stream, enter)
    return _replaced(handler, stream_stream=_until_draining(stream, gate))


def _replaced(handler: Any, **changes: Any) -> grpc.RpcMethodHandler[Any, Any]:
    changed: grpc.RpcMethodHandler[Any, Any] = handler._replace(**changes)
    return changed


async def _enter(gate: Gate, method: str, context: Context) -> None:
    try:
        gate.enter(method, context)
    except SubgrpcError as error:
        await gate.refuse(context, error)


def _guarded_unary(inner: Any, enter: Callable[[Context], Any]) -> Any:
    async def handle(request: Any, context: Context) -> Any:
        await enter(context)
        return await inner(request, context)

    return handle


def _guarded_stream(inner: Any, enter: Callable[[Context], Any]) -> Any:
    async def handle(requests: Any, context: Context) -> None:
        await enter(context)
        async for response in inner(requests, context):
            await context.write(response)

    return handle


def _until_draining(inner: Any, gate: Gate) -> Any:
    """The same stream, which ends when the server stops: it would hold up the stop else."""

    async def handle(request: Any, context: Context) -> None:
        stream = asyncio.ensure_future(inner(request, context))
        draining = asyncio.ensure_future(gate.draining.wait())
        try:
            await asyncio.wait((stream, draining), return_when=asyncio.FIRST_COMPLETED)
            if stream.done():
                stream.result()
        finally:
            stream.cancel()
            draining.cancel()

    return handle
