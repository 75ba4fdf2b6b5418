"""The server's own log: structured lines on standard error, JSON unless a person is watching."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import logging
import sys
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, Final, TextIO, cast

import structlog

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

call_fields: Final[ContextVar[Mapping[str, str]]] = ContextVar(
    "call_fields", default=MappingProxyType({})
)
"""What every line of the present call says of it. One variable, and not one for each field as
structlog's own, which cost every call several times as much."""

_LEVEL_OF: Final = {"exception": "error", "warn": "warning", "fatal": "critical"}
_encode: Final = json.JSONEncoder(default=repr).encode


def configure_logging(level: str = "info", stream: TextIO | None = None) -> None:
    """Sets up structlog for this process, and what others log through the standard library.

    Args:
        level: the least severe level that is written: one of `LEVELS`.
        stream: where to; standard error by default. Lines for which there is no room are left out.
    """
    lines = _Lines(stream or sys.stderr)
    shared: list[structlog.typing.Processor] = [_with_call]
    final: list[structlog.typing.Processor]
    # Local variables stay out of tracebacks: they hold requests, tokens and secrets.
    if lines.isatty():
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
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    foreign = logging.StreamHandler(cast(TextIO, lines))
    foreign.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    logging.basicConfig(handlers=[foreign], level=logging.WARNING, force=True)


class _Lines:
    """Writes lines; what cannot be written is lost: a full disk must not end what is logged of.

    What is merely told in one turn of the event loop is written at its end, together: a write
    costs as much as making several lines, and gives the interpreter away. So a server that is
    killed may have done a little more than its log says. What is wrong is written at once.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: list[str] = []
        self._lock = threading.Lock()
        self.isatty = stream.isatty
        atexit.register(self.flush)

    def info(self, line: str) -> None:
        with self._lock:
            self._waiting.append(line)
            first = len(self._waiting) == 1
        if first:
            try:
                asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:  # not on an event loop
                self.flush()

    debug = info

    def warning(self, line: str) -> None:
        with self._lock:
            self._waiting.append(line)
        self.flush()

    error = critical = exception = warning

    def write(self, text: str) -> None:
        """For the standard library's handlers."""
        self.warning(text.removesuffix("\n"))

    def flush(self) -> None:
        with self._lock:
            lines, self._waiting = self._waiting, []
            if lines:
                with contextlib.suppress(OSError, ValueError):  # no room; closed
                    self._stream.write("\n".join((*lines, "")))
                    self._stream.flush()


def _with_call(
    _: Any, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Adds the call, the level and the time: in one go, as it is done for every call."""
    now = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
    level = _LEVEL_OF.get(method, method)
    return {**call_fields.get(), **event, "level": level, "timestamp": now}


def _json(_: object, __: str, event: structlog.typing.EventDict) -> str:
    """As structlog's own, without making an encoder for every line."""
    return _encode(event)
