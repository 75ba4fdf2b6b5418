"""gRPC statuses as `SubgrpcError`s, with the reason and violations of their google.rpc details."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from subgrpc import errors
from subgrpc.errors import FieldViolation, SubgrpcError

SERVER_UNREACHABLE = "SERVER_UNREACHABLE"
"""Reason of `Unavailable` when no server answered."""
DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
"""Reason of `Unavailable` when the answer took too long."""
CLIENT_CLOSED = "CLIENT_CLOSED"
"""Reason of `FailedPrecondition` when the client was closed."""

_CLASSES: dict[grpc.StatusCode, type[SubgrpcError]] = {
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPrecondition,
    grpc.StatusCode.ABORTED: errors.Aborted,
    grpc.StatusCode.OUT_OF_RANGE: errors.OutOfRange,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unimplemented,
    grpc.StatusCode.DATA_LOSS: errors.DataLoss,
}
# What the transport itself reports, under various codes, when a connection breaks.
_BROKEN = re.compile(r"RST_STREAM|GOAWAY|[Ss]tream removed|[Tt]ransport closed|[Ss]ocket closed")

# What gRPC writes before the cause of a failed connection.
_CAUSE = re.compile(r"(?s).*(?:remote host: (?:connect: )?|last error: )")


@runtime_checkable
class FailedCall(Protocol):
    """What a failed call tells, from either of gRPC's interfaces."""

    def code(self) -> grpc.StatusCode:
        """The status."""

    def details(self) -> str | None:
        """The message."""

    def trailing_metadata(self) -> Any:
        """What came behind the answer, pairs of key and value."""


@contextmanager
def mapped(address: str) -> Iterator[None]:
    """Within it, a failed call raises a `SubgrpcError`."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc(error, address) from error


def client_closed() -> errors.FailedPrecondition:
    """What a closed client raises."""
    return errors.FailedPrecondition("the client is closed: make another", reason=CLIENT_CLOSED)


def from_rpc(error: grpc.RpcError, address: str) -> SubgrpcError:
    """Returns the `SubgrpcError` that a failed call to the server at `address` stands for."""
    if not isinstance(error, FailedCall):
        return SubgrpcError(f"the call failed: {error}")
    told = _explanation(error)
    found = _translated(error.code(), error.details() or "", told, address)
    found.help_url = told.help_url
    return found


def _translated(code: grpc.StatusCode, text: str, told: _Explanation, address: str) -> SubgrpcError:
    if code == grpc.StatusCode.INVALID_ARGUMENT:
        return errors.InvalidArgument(
            text, told.violations, reason=told.reason, metadata=told.metadata
        )
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return errors.ResourceExhausted(text, reason=told.reason, retry_after=told.retry_after)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        message = f"the server at {address} did not answer in time"
        return errors.Unavailable(message, reason=DEADLINE_EXCEEDED)
    if code == grpc.StatusCode.UNAVAILABLE:
        if told.reason is None:
            return _unreachable(text, address)
        return errors.Unavailable(text, reason=told.reason, retry_after=told.retry_after)
    if code == grpc.StatusCode.CANCELLED and told.reason is None:
        # gRPC's word for a call that met a server just as it stopped; we never cancel a call and
        # then look at its status.
        return _unreachable("it ended the call; it may be stopping", address)
    reason = told.reason or (None if code in _CLASSES else code.name)
    return _CLASSES.get(code, SubgrpcError)(
        text or "the server gave no reason", reason=reason, metadata=told.metadata
    )


def is_connection_loss(error: grpc.RpcError) -> bool:
    """Whether a stream broke for a reason that connecting again can cure."""
    if not isinstance(error, FailedCall):
        return False
    code = error.code()
    if code == grpc.StatusCode.UNAVAILABLE:
        return True
    # What the server itself explains is its answer, and would be the same again.
    if _explanation(error).reason is not None:
        return False
    if code == grpc.StatusCode.CANCELLED:
        return True
    broken = _BROKEN.search(error.details() or "") is not None
    return broken and code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


@dataclass(slots=True)
class _Explanation:
    """What the google.rpc details of a status say."""

    reason: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    violations: list[FieldViolation] = field(default_factory=list)
    retry_after: float | None = None
    help_url: str = ""


def _explanation(error: FailedCall) -> _Explanation:
    told = _Explanation()
    for packed in _details(error):
        if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(packed.value)
            told.reason, told.metadata = info.reason or None, dict(info.metadata)
        elif packed.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            request = error_details_pb2.BadRequest.FromString(packed.value)
            told.violations = [
                FieldViolation(each.field, each.description, each.reason or "INVALID_VALUE")
                for each in request.field_violations
            ]
        elif packed.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo.FromString(packed.value)
            told.retry_after = retry.retry_delay.ToMilliseconds() / 1000
        elif packed.Is(error_details_pb2.Help.DESCRIPTOR):
            links = error_details_pb2.Help.FromString(packed.value).links
            told.help_url = links[0].url if links else ""
    return told


def _details(error: FailedCall) -> list[status_pb2.Status]:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            try:
                return list(status_pb2.Status.FromString(value).details)
            except DecodeError:  # a proxy's, or a stranger's: the code and text remain
                return []
    return []


def _unreachable(text: str, address: str) -> errors.Unavailable:
    # "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect
    # to remote host: connect: Connection refused (111)"
    why = _CAUSE.sub("", text) or "the connection broke"
    message = f"the server at {address} cannot be reached: {why}"
    return errors.Unavailable(message, reason=SERVER_UNREACHABLE)
