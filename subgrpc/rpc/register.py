"""Puts a service on a server, straight from its descriptor.

Every method gets a handler that lets the call in (`Gate`), reads and validates the request, calls
the use case, and turns errors into statuses. Requests are parsed here and not by gRPC, so that
one that cannot be read is INVALID_ARGUMENT. A use case may return a message, or its serialised
bytes, which pass through unparsed.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
import grpc.aio
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from subgrpc.errors import InvalidArgument, SubgrpcError
from subgrpc.rpc.gate import Call, Context, Gate, as_incident
from subgrpc.validation import validate

Frame = Message | bytes
UnaryUseCase = Callable[[Any, Call], Awaitable[Frame]]
StreamUseCase = Callable[[Any, Call], AsyncIterator[Frame]]
"""Returns a generator: it is closed when its caller goes away. Where the client streams, too, it
gets an iterator of requests."""
UseCase = UnaryUseCase | StreamUseCase
Handlers: TypeAlias = "dict[str, grpc.RpcMethodHandler[Any, Any]]"

_READS = ("Get", "BatchGet", "List", "Watch", "Stream", "Find", "Download", "SignBlobDownloads")
_log = structlog.get_logger(__name__)


def register(
    server: grpc.aio.Server,
    service: ServiceDescriptor,
    use_cases: Mapping[str, UseCase],
    gate: Gate,
) -> None:
    """Registers a service.

    Args:
        server: one that was not started yet.
        service: its descriptor.
        use_cases: by method name; every method has one.
        gate: lets calls in.
    """
    handlers = {
        method.name: _handler(method, use_cases[method.name], gate) for method in service.methods
    }
    add_handlers(server, service.full_name, handlers)


def add_handlers(server: grpc.aio.Server, service: str, handlers: Handlers) -> None:
    """Registers finished handlers, as generated code does."""
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])


def _handler(
    method: MethodDescriptor, use_case: UseCase, gate: Gate
) -> grpc.RpcMethodHandler[Any, Any]:
    name = f"{method.containing_service.name}.{method.name}"
    read = _reader(method)
    if method.client_streaming:
        return grpc.stream_stream_rpc_method_handler(_streaming(name, read, use_case, gate, True))
    if method.server_streaming:
        # As a stream of requests, which looks the same on the wire: gRPC itself would leave a
        # caller waiting for ever who closes his side without a request.
        return grpc.stream_stream_rpc_method_handler(_streaming(name, read, use_case, gate))
    assert not inspect.isasyncgenfunction(use_case), name
    audited = not method.name.startswith(_READS)
    return grpc.unary_unary_rpc_method_handler(_unary(name, read, use_case, gate, audited))


def _reader(method: MethodDescriptor) -> Callable[[bytes], Message]:
    """Reads and validates requests of a method.

    What comes in streams its use case validates: it is large, and looking at a field copies it.
    """
    kind = GetMessageClass(method.input_type)
    check = validate if not method.client_streaming else _unlooked

    def read(raw: bytes) -> Message:
        try:
            request = kind.FromString(raw)
        except DecodeError as error:
            text = f"the request is no {method.input_type.full_name}: {error}"
            raise InvalidArgument(text, reason="MALFORMED_REQUEST") from error
        check(request)
        return request

    return read


def _unlooked(_: Message) -> None:
    pass


def _unary(
    name: str, read: Callable[[bytes], Message], use_case: Any, gate: Gate, audited: bool
) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def handle(raw: bytes, context: Context) -> bytes:
        try:
            call = gate.enter(name, context)
            answer = _serialised(await use_case(read(raw), call))
            if audited:
                _log.info("rpc.done")
            return answer
        except SubgrpcError as error:
            failure = error
        except Exception as error:
            failure = as_incident(error)
        return await gate.refuse(context, failure)

    return handle


def _streaming(
    name: str, read: Callable[[bytes], Message], use_case: Any, gate: Gate, many: bool = False
) -> Callable[[object, Context], Awaitable[None]]:
    async def handle(_: object, context: Context) -> None:
        # Written frame by frame, not as a generator: gRPC leaves those of callers that went away
        # to the garbage collector. `write` waits for the caller to read: nothing piles up here.
        try:
            call = gate.enter(name, context)
            with gate.stream(call.principal):
                request = _messages(context, read) if many else read(await _only_message(context))
                # The caller learns at once that he is connected, also if nothing happens.
                await context.send_initial_metadata(())
                async with aclosing(use_case(request, call)) as frames:
                    async for frame in frames:
                        await context.write(_serialised(frame))
            return
        except grpc.aio.InternalError:
            # The connection broke below a frame, before gRPC noticed: nobody is there to be told.
            _log.debug("rpc.gone")
            return
        except SubgrpcError as error:
            failure = error
        except Exception as error:
            failure = as_incident(error)
        await gate.refuse(context, failure)

    return handle


async def _messages(context: Context, read: Callable[[bytes], Message]) -> AsyncIterator[Message]:
    while isinstance(message := await context.read(), bytes):
        request = read(message)
        del message  # It can be large, and so can many streams' be.
        yield request
        del request


async def _only_message(context: Context) -> bytes:
    message = await context.read()
    if isinstance(message, bytes):
        return message
    text = "the call was closed without a request"
    raise InvalidArgument(text, reason="MALFORMED_REQUEST")


def _serialised(frame: Frame) -> bytes:
    return frame if isinstance(frame, bytes) else frame.SerializeToString()
