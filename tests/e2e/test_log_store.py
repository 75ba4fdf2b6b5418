"""Logs of what has ended: from the disk, from the artifact store, or expired."""

from __future__ import annotations

import hashlib
import sys

import pytest

from .conftest import Cli, until

NOISE = """
import random, sys
sys.stdout.buffer.write(random.Random(3).randbytes(3_000_000))
sys.stderr.write("done\\n")
"""


def evicted(cli: Cli) -> bool:
    return not list((cli.data / "journals").glob("*/*"))


@pytest.mark.thorough
def test_logs_are_read_from_the_artifact_store(own: Cli) -> None:
    """Once they are not on the disk any more: every byte, to the right stream; also a tail."""
    own.up("--log-cache", "0")
    first = own("run", "-q", "--name", "noise", "--", sys.executable, "-c", NOISE, code=0)
    until(lambda: evicted(own), "the journal is evicted")
    again = own("logs", "noise", code=0)
    assert hashlib.sha256(again.stdout).hexdigest() == hashlib.sha256(first.stdout).hexdigest()
    assert len(again.stdout) == 3_000_000
    assert again.stderr == b"done\n"
    assert own("logs", "--tail", "1", "--stream", "stderr", "noise", code=0).stderr == b"done\n"
    assert own("admin", "check", code=0)


def test_expired_logs_are_said_to_be_gone(own: Cli) -> None:
    """And the experiment still tells how it ended."""
    own.up("--log-retention", "1s")
    own("run", "-q", "--name", "short", "--", "echo", "hello", code=0)
    until(lambda: evicted(own), "the log has expired")
    told = own("logs", "--follow", "short", code=0)
    assert told.stdout == b""
    assert b"the output of attempt 1 is gone" in told.stderr
    assert own.state("short") == "SUCCEEDED"
    assert own("admin", "check", code=0)


def test_a_size_or_span_that_is_none_is_refused(own: Cli) -> None:
    """With what would be one."""
    told = own("up", "--log-cache", "lots", code=2).stderr
    assert b'bytes are written as "512Mi"' in told
    told = own("up", "--log-retention", "a month", code=2).stderr
    assert b'spans of time are written as "90s"' in told
