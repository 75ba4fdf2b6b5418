"""The judge of watches: a true history passes, and each way to break one is found."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from subgrpc.v1.experiment_service_pb2 import BookmarkType, Experiment

from .history import ADDED, MODIFIED, REMOVED, Change, check, digest

Line = dict[str, Any]
COMPLETE = int(BookmarkType.BOOKMARK_TYPE_INITIAL_STATE_COMPLETE)
HEARTBEAT = int(BookmarkType.BOOKMARK_TYPE_HEARTBEAT)


def version(uid: str, number: int) -> Experiment:
    """An experiment as it is after its change of that number."""
    return Experiment(uid=uid, etag=str(number))


def log() -> list[Change]:
    """a and b are made and changed, a is deleted; revision 4 changes both."""
    a, b = version("a", 1), version("b", 2)
    a3, b4, a4 = version("a", 3), version("b", 4), version("a", 4)
    return [
        Change(1, "a", None, a),
        Change(2, "b", None, b),
        Change(3, "a", a, a3),
        Change(4, "a", a3, a4),
        Change(4, "b", b, b4),
        Change(5, "a", a4, None),
    ]


def token(revision: int, place: str | None = None) -> str:
    """A token as the server makes it, but for its signature."""
    text = f"{revision} 1" + ("" if place is None else f" {place}")
    return base64.urlsafe_b64encode(b"\0" * 17 + text.encode()).decode().rstrip("=")


def event(at: int, kind: int, revision: int, uid: str, number: int) -> Line:
    """A frame with a change; `at`: the revision of its token."""
    return {"w": "w", "t": token(at), "e": [kind, revision, uid, digest(version(uid, number))]}


def bookmark(revision: int, kind: int = HEARTBEAT) -> Line:
    """A frame without a change."""
    return {"w": "w", "t": token(revision), "b": kind}


def call(resume_token: str) -> Line:
    """A call."""
    return {"w": "w", "filter": "all", "token": resume_token, "sdk": False}


def history() -> list[Line]:
    """What a watcher is told that begins at revision 2 and breaks off at 4."""
    initial = [
        {**event(2, ADDED, 2, "a", 1), "t": token(2, "a")},
        {**event(2, ADDED, 2, "b", 2), "t": token(2, "b")},
    ]
    return [
        call(""),
        *initial,
        bookmark(2, COMPLETE),
        event(3, MODIFIED, 3, "a", 3),
        event(3, MODIFIED, 4, "a", 4),
        event(4, MODIFIED, 4, "b", 4),
        call(token(4)),
        event(5, REMOVED, 5, "a", 4),
        bookmark(5),
    ]


def faults_of(lines: list[Line]) -> set[str]:
    """The guarantees that are broken."""
    written = [json.loads(json.dumps(line)) for line in lines]
    return {guarantee for guarantee, _ in check(written, log(), 5)[0]}


def test_a_true_history_passes() -> None:
    """Calls and frames are counted."""
    assert check(history(), log(), 5) == ([], 2, 8)


@pytest.mark.parametrize(
    ("guarantee", "break_it"),
    [
        ("ordered", lambda lines: lines.insert(5, event(2, MODIFIED, 2, "a", 9))),
        ("unique", lambda lines: lines.insert(6, lines[4])),
        ("reliable", lambda lines: lines.pop(4)),
        ("reliable", lambda lines: lines.pop(1)),
        ("reliable", lambda lines: lines.__setitem__(slice(8, None), [])),
        ("reliable", lambda lines: lines[4]["e"].__setitem__(3, "other")),
        ("atomic", lambda lines: lines[5].update(t=token(4))),
        ("resumable", lambda lines: lines[7].update(token=token(3))),
        ("resumable", lambda lines: lines[6].update(t=token(3))),
        ("bookmarkable", lambda lines: lines.insert(4, bookmark(3))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_history_is_found(guarantee: str, break_it: Callable[[list[Line]], None]) -> None:
    """And called by the guarantee that it breaks."""
    lines = history()
    break_it(lines)
    assert guarantee in faults_of(lines)
