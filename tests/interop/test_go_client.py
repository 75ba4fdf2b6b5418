"""A client in another language, generated from the protos alone, does a user's whole round."""

from __future__ import annotations

import base64
import json
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LIVES = ("QUEUED", "STARTING", "RUNNING", "SUCCEEDED")


def ride(client: Path, address: str, experiment: str, command: str) -> dict[str, Any]:
    """What the Go client reports of one experiment."""
    done = subprocess.run(
        [client, address, experiment, command],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_it_follows_an_experiment_from_its_creation_to_its_end(
    go_client: Path, address: str
) -> None:
    """Every byte of both streams arrives, and the watch ends with the experiment's last change."""
    report = ride(
        go_client,
        address,
        "from-go",
        "for i in 1 2 3; do echo line $i; sleep 0.1; done;"
        r" printf 'caf\303\251 \377\000.'; echo no >&2",
    )
    assert report["name"] == "teams/default/experiments/from-go"
    assert base64.b64decode(report["stdout"]) == b"line 1\nline 2\nline 3\ncaf\xc3\xa9 \xff\x00."
    assert base64.b64decode(report["stderr"]) == b"no\n"
    assert report["endState"] == report["finalState"] == "EXPERIMENT_STATE_SUCCEEDED"


def test_its_watch_sees_states_and_revisions_only_go_forward(go_client: Path, address: str) -> None:
    """The first change is ADDED, the rest MODIFIED, and the last one is the end."""
    changes = ride(go_client, address, "watched-from-go", "sleep 0.2")["changes"]
    assert changes[0]["type"] == "CHANGE_TYPE_ADDED"
    assert {change["type"] for change in changes[1:]} == {"CHANGE_TYPE_MODIFIED"}
    assert all(one["revision"] < two["revision"] for one, two in pairwise(changes))
    states = [LIVES.index(change["state"].removeprefix("EXPERIMENT_STATE_")) for change in changes]
    assert states == sorted(states)
    assert changes[-1]["state"] == "EXPERIMENT_STATE_SUCCEEDED"


def test_it_reads_why_an_experiment_failed(go_client: Path, address: str) -> None:
    """A failure arrives as a state and a reason, not as an error of a stream."""
    report = ride(go_client, address, "failing-from-go", "exit 3")
    assert report["finalState"] == "EXPERIMENT_STATE_FAILED"
    assert report["finalReason"] == "ExitCode"
