"""The server's own log: structured lines on standard error, JSON unless a person is watching."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure_logging(level: str = "info", stream: TextIO | None = None) -> None:
    """Sets up structlog for this process, and what others log through the standard library.

    Args:
        level: the least severe level that is written: one of `LEVELS`.
        stream: where to; standard error by default.
    """
    out = stream or sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
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
            structlog.processors.JSONRenderer(),
        ]
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(out),
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
