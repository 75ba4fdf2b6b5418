"""How subgrpc's errors travel: as a gRPC status with the details of google.rpc.

Every status carries an ErrorInfo with the stable reason, and where fitting BadRequest,
PreconditionFailure and RetryInfo; where the documentation is published, Help with a link. All of it
stays below 8 KiB: clients drop a larger one and report RESOURCE_EXHAUSTED in its place.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    Help,
    PreconditionFailure,
    RetryInfo,
)
from google.rpc.status_pb2 import Status

from subgrpc import errors
from subgrpc.errors import SubgrpcError

DOMAIN: Final = "subgrpc.org"
"""`ErrorInfo.domain` of every error."""
DETAILS_KEY: Final = "grpc-status-details-bin"
"""The trailing metadata in which gRPC carries a google.rpc.Status."""

_DOCS_URL: Final = re.compile(r"https?://[^\s?#/]+(/[^\s?#]*)?")
_DOCS_URL_LENGTH: Final = 200
_MESSAGE_BYTES: Final = 1500
"""Of the message as it travels, percent-encoded. It travels twice, once of them plain."""
_DETAILS_BYTES: Final = 3200
"""Of the details; base64 makes a third more of them."""
_TEXT: Final = 300
"""Characters of one violation's description, or of one metadata value."""

_CODES: Final[dict[type[SubgrpcError], grpc.StatusCode]] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Aborted: grpc.StatusCode.ABORTED,
    errors.OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DataLoss: grpc.StatusCode.DATA_LOSS,
}


_CLASSES: Final = {code: kind for kind, code in _CODES.items()}


class WireStatus(NamedTuple):
    """A status as gRPC wants it."""

    code: grpc.StatusCode
    message: str
    details: bytes
    """A serialised google.rpc.Status, for `DETAILS_KEY`."""


def code_of(error: SubgrpcError) -> grpc.StatusCode:
    """The status code of an error: that of its class or of the nearest base class."""
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    return grpc.StatusCode.INTERNAL


def check_docs_url(url: str) -> str:
    """The address of a published documentation, without a slash at the end; empty: there is none.

    Raises:
        InvalidArgument: INVALID_DOCS_URL.
    """
    if url and not (len(url) <= _DOCS_URL_LENGTH and url.isascii() and _DOCS_URL.fullmatch(url)):
        text = (
            f"{_cut(url)!r} is no address of a site: http://… or https://… with at most "
            f"{_DOCS_URL_LENGTH} ASCII characters, and without a query"
        )
        raise errors.InvalidArgument(text, reason="INVALID_DOCS_URL")
    return url.rstrip("/")


def from_status(code: grpc.StatusCode, message: str, details: str | bytes) -> SubgrpcError:
    """Returns what another server's answer stands for.

    Args:
        code: the status.
        message: its message.
        details: a serialised google.rpc.Status; empty: the answer is none of a server of ours.
    """
    reason = None
    if isinstance(details, bytes):
        for detail in Status.FromString(details).details:
            if detail.Is(ErrorInfo.DESCRIPTOR):
                reason = ErrorInfo.FromString(detail.value).reason
    kind = _CLASSES.get(code, SubgrpcError) if reason else SubgrpcError
    return kind(message or code.name, reason=reason)


def to_status(error: SubgrpcError, docs_url: str = "") -> WireStatus:
    """Returns how an error travels, with a link if `docs_url` says where its page is."""
    code = code_of(error)
    message = _cut_encoded(error.message or error.reason, _MESSAGE_BYTES)
    status = Status(code=code.value[0], message=message)
    info = ErrorInfo(reason=error.reason, domain=DOMAIN)
    for key, value in list(error.metadata.items())[:8]:
        info.metadata[key[:64]] = _cut(value)
    extra = [*_help(error, docs_url), *_extra(error, message)]
    omitted = 0
    if isinstance(error, errors.InvalidArgument) and error.violations:
        taken = sum(each.ByteSize() for each in (info, *extra))
        bad, omitted = _bad_request(error, _DETAILS_BYTES - taken)
        extra.append(bad)
    if omitted:
        omitted += int(error.metadata.get("omittedViolations", "0"))
        info.metadata["omittedViolations"] = str(omitted)
    for detail in (info, *extra):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return WireStatus(code, message, status.SerializeToString())


def _help(error: SubgrpcError, docs_url: str) -> list[Any]:
    if not docs_url:
        return []
    help_ = Help()
    url = f"{docs_url}/errors/#{error.reason.lower()}"
    help_.links.add(description=f"What {error.reason} means, and what to do", url=url)
    return [help_]


def _extra(error: SubgrpcError, message: str) -> list[Any]:
    if isinstance(error, errors.FailedPrecondition):
        failure = PreconditionFailure()
        failure.violations.add(
            type=error.reason,
            subject=_cut(error.metadata.get("subject", "")),
            description=_cut(message),
        )
        return [failure]
    if (
        isinstance(error, errors.Unavailable | errors.ResourceExhausted)
        and error.retry_after is not None
    ):
        retry = RetryInfo()
        retry.retry_delay.FromNanoseconds(int(error.retry_after * 1e9))
        return [retry]
    return []


def _bad_request(error: errors.InvalidArgument, room: int) -> tuple[Any, int]:
    """As many violations as there is room for, and how many are left out."""
    bad = BadRequest()
    for count, each in enumerate(error.violations):
        bad.field_violations.add(
            field=_cut(each.field), description=_cut(each.description), reason=each.reason
        )
        if bad.ByteSize() > room and count:
            del bad.field_violations[-1]
            return bad, len(error.violations) - count
    return bad, 0


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"


def _cut_encoded(text: str, limit: int) -> str:
    """Cuts a text so that its percent-encoding, as in the header `grpc-message`, fits."""
    size = 0
    for position, character in enumerate(text):
        plain = " " <= character <= "~" and character != "%"
        size += 1 if plain else 3 * len(character.encode("utf-8", "replace"))
        if size > limit:
            return text[:position] + "…"
    return text
