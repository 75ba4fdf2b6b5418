"""The server's own log: structured lines on standard error, JSON unless a person is watching."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Final, TextIO

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
        stream: where to; standard error by default.
    """
    out = stream or sys.stderr
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
        logger_factory=structlog.WriteLoggerFactory(out),
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


def _with_call(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {**call_fields.get(), **event}


def _json(_: object, __: str, event: structlog.typing.EventDict) -> str:
    """As structlog's own, without making an encoder for every line."""
    return _encode(event)
