"""The server's log: one JSON object a line, which says of which call it is."""

from __future__ import annotations

import contextlib
import contextvars
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from subgrpc.rpc.logging import call_fields, configure_logging


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    out = io.StringIO()
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()  # they are pytest's: configure_logging would close them
    configure_logging("info", out)
    yield out
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_line_names_its_call_and_no_other(stream: io.StringIO) -> None:
    """A line within a call has the call's fields; one outside of it has none of them."""
    log = structlog.get_logger("test")

    def call() -> None:
        call_fields.set({"rpc": "Service.Method", "request_id": "r1", "principal": "ann"})
        log.info("rpc.done")

    contextvars.copy_context().run(call)
    log.warning("later", path='a "quoted"\nname', number=1)
    inside, outside = map(json.loads, stream.getvalue().splitlines())
    assert inside.pop("timestamp").endswith("Z")
    assert inside.pop("request_id") == "r1"
    assert inside == {
        "rpc": "Service.Method",
        "principal": "ann",
        "event": "rpc.done",
        "level": "info",
    }
    assert outside["path"] == 'a "quoted"\nname'
    assert not {"rpc", "request_id", "principal"} & outside.keys()


def test_any_value_makes_a_line(stream: io.StringIO) -> None:
    """What JSON cannot hold is shown as Python shows it, and an error without its variables."""
    log = structlog.get_logger("test")
    secret = "xyzzy"
    try:
        raise ValueError(len(secret))
    except ValueError as error:
        log.error("failed", exc_info=error, what={1, 2} - {2})
    line = json.loads(stream.getvalue())
    assert line["what"] == "{1}"
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert "xyzzy" not in stream.getvalue()


def test_a_full_disk_costs_lines_and_nothing_else() -> None:
    """Who logs is not told: it would end for want of a line what can go on without."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        with open("/dev/full", "w", buffering=1) as full:
            configure_logging("info", full)
            structlog.get_logger("test").warning("lost", text="x" * 20_000)
            logging.getLogger("foreign").warning("lost, too")
            with contextlib.suppress(OSError):  # what is left in its buffer
                full.close()
    finally:
        structlog.configure(**before)
        root.handlers[:] = handlers
        root.setLevel(level)
