"""The server's own log: structured lines on standard error, JSON unless a person is watching."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Final, TextIO, cast

import structlog

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

call_fields: Final[ContextVar[Mapping[str, str]]] = ContextVar(
    "call_fields", default=MappingProxyType({})
)
"""What every line of the present call says of it. One variable, and not one for each field as
structlog's own, which cost every call several times as much."""

_encode: Final = json.JSONEncoder(default=repr).encode


def configure_logging(level: str = "info", stream: TextIO | None = None) -> None:
    """Sets up structlog for this process, and what others log through the standard library.

    Args:
        level: the least severe level that is written: one of `LEVELS`.
        stream: where to; standard error by default. Lines for which there is no room are left out.
    """
    out = _Unfailing(stream or sys.stderr)
    shared: list[structlog.typing.Processor] = [
        _with_call,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final: list[structlog.typing.Processor]
    # Local variables stay out of tracebacks: they hold requests, tokens and secrets.
    if out.isatty():
        plain = structlog.dev.plain_traceback
        final = [structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    else:
        exceptions = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        final = [
            structlog.processors.ExceptionRenderer(exceptions),
            _json,
        ]
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, out)),
        cache_logger_on_first_use=True,
    )
    foreign = logging.StreamHandler(out)
    foreign.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    logging.basicConfig(handlers=[foreign], level=logging.WARNING, force=True)


class _Unfailing:
    """A text stream that loses what it cannot write: a full disk must not end what is logged of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.isatty = stream.isatty

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def _with_call(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {**call_fields.get(), **event}


def _json(_: object, __: str, event: structlog.typing.EventDict) -> str:
    """As structlog's own, without making an encoder for every line."""
    return _encode(event)
