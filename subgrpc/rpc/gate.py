"""What every call passes on its way in: its id, who calls, how much they may call."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

import grpc.aio
import structlog

from subgrpc import __version__
from subgrpc.config import Limits
from subgrpc.errors import ResourceExhausted, SubgrpcError
from subgrpc.rpc.auth import Authenticator
from subgrpc.rpc.hop import HOP_KEY, Hops
from subgrpc.rpc.logging import call_fields
from subgrpc.rpc.status import DETAILS_KEY, check_docs_url, to_status

REQUEST_ID_KEY: Final = "x-request-id"
"""Metadata that names a call: taken from the caller or made here, logged, and sent back."""
VERSION_KEY: Final = "x-subgrpc-version"
"""Trailing metadata that tells the server's version."""

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_BURST_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Call(NamedTuple):
    """A call that was let in.

    Attributes:
        method: `Service.Method`, for people.
        principal: who calls.
        request_id: the call's id in logs.
        hop: another server calls, for a part of the output of this attempt; 0: it does not.
    """

    method: str
    principal: str
    request_id: str
    hop: int = 0


class Incident(SubgrpcError):
    """A mistake of ours: the caller gets a number that the log explains."""


class Gate:
    """Lets calls in. One for all listeners of a server; used on its event loop only."""

    def __init__(self, authenticator: Authenticator, limits: Limits, docs_url: str = "") -> None:
        """Errors link to the documentation at `docs_url`, if it is given.

        Raises:
            InvalidArgument: INVALID_DOCS_URL.
        """
        self._docs_url = check_docs_url(docs_url)
        self.draining = asyncio.Event()
        """Set when the server stops: streams say so and end."""
        self.calls = 0
        """How many calls have come so far."""
        self.hops: Hops | None = None
        """Knows other servers of this control plane, where there may be any."""
        self._authenticator = authenticator
        self._limits = limits
        self._buckets: dict[str, _Bucket] = {}
        self._streams: Counter[str] = Counter()

    def enter(self, method: str, context: Context) -> Call:
        """Lets a call in.

        Raises:
            Unauthenticated: its credentials are missing or wrong.
            ResourceExhausted: its principal calls too often.
        """
        self.calls += 1
        authorization = request_id = hop = ""
        for key, value in context.invocation_metadata() or ():
            if key == "authorization":
                authorization = _text(value)
            elif key == REQUEST_ID_KEY:
                request_id = _text(value)
            elif key == HOP_KEY:
                hop = _text(value)
        if not request_id or not _REQUEST_ID.fullmatch(request_id):
            request_id = f"{random.getrandbits(64):016x}"
        context.set_trailing_metadata(((REQUEST_ID_KEY, request_id), (VERSION_KEY, __version__)))
        fields = {"rpc": method, "request_id": request_id}
        call_fields.set(fields)
        if hop and self.hops is not None:
            principal, attempt = self.hops.admit(method, hop)
        else:
            principal, attempt = self._authenticator.principal(authorization, context), 0
        fields["principal"] = principal
        bucket = self._buckets.get(principal)
        if bucket is None:
            bucket = self._buckets[principal] = _Bucket(self._limits.calls_per_second)
        bucket.take()
        return Call(method, principal, request_id, attempt)

    @contextmanager
    def stream(self, principal: str) -> Iterator[None]:
        """Counts an open stream of a principal.

        Raises:
            ResourceExhausted: it has too many.
        """
        if self._streams[principal] >= self._limits.streams:
            text = f"{principal} has {self._limits.streams} open streams, the most that are allowed"
            raise ResourceExhausted(text, reason="TOO_MANY_STREAMS", retry_after=1.0)
        self._streams[principal] += 1
        try:
            yield
        finally:
            self._streams[principal] -= 1
            if not self._streams[principal]:
                del self._streams[principal]

    async def refuse(self, context: Context, error: SubgrpcError) -> NoReturn:
        """Ends a call with an error."""
        status = to_status(error, self._docs_url)
        _log.debug("rpc.refused", code=status.code.name, reason=error.reason, error=status.message)
        trailing = [*(context.trailing_metadata() or ()), (DETAILS_KEY, status.details)]
        await context.abort(status.code, status.message, tuple(trailing))
        raise AssertionError("abort raises")


class _Bucket:
    """A token bucket: so many calls a second, and bursts of two seconds' worth."""

    __slots__ = ("_level", "_rate", "_then")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._level = rate * _BURST_SECONDS
        self._then = time.monotonic()

    def take(self) -> None:
        now = time.monotonic()
        full = self._rate * _BURST_SECONDS
        self._level = min(full, self._level + (now - self._then) * self._rate)
        self._then = now
        if self._level < 1.0:
            text = f"more than {self._rate:g} calls a second"
            wait = (1.0 - self._level) / self._rate
            raise ResourceExhausted(text, reason="RATE_LIMITED", retry_after=wait)
        self._level -= 1.0


def as_incident(error: Exception) -> Incident:
    """Logs an error that nobody foresaw; returns what the caller may know of it."""
    number = f"{random.getrandbits(48):012x}"
    _log.error("rpc.incident", incident=number, exc_info=error)
    text = f"internal error; the server's log has the details under incident {number}"
    return Incident(text, metadata={"incident": number})


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
