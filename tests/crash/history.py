"""Checks what watchers were told against the change log: the guarantees of a watch.

They are those that etcd documents (https://etcd.io/docs/v3.6/learning/api_guarantees/#watch-apis)
and that its robustness tests check:

- ordered: revisions never go back;
- unique: no change comes twice;
- reliable: none between two that came is missing, and at the end none at all;
- atomic: no token stands within a revision, of which more would follow;
- resumable: behind a token comes the first change that the token does not cover;
- bookmarkable: all changes up to the revision of a bookmark came before it, none after it.

To these ours adds the initial state: when it is complete, what came is what was there.
"""

from __future__ import annotations

import base64
import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from subgrpc.v1.experiment_service_pb2 import (
    BookmarkType,
    ChangeType,
    Experiment,
    ExperimentState,
    WatchExperimentsResponse,
)

ADDED, MODIFIED, REMOVED = (
    ChangeType.CHANGE_TYPE_ADDED,
    ChangeType.CHANGE_TYPE_MODIFIED,
    ChangeType.CHANGE_TYPE_REMOVED,
)


class Filter(NamedTuple):
    """A filter, and the same as a function."""

    text: str
    matches: Callable[[Experiment], bool]


FILTERS = {
    "all": Filter("", lambda _: True),
    "multi": Filter('labels.kind = "multi"', lambda each: each.labels.get("kind") == "multi"),
    "quick": Filter('labels.kind = "quick"', lambda each: each.labels.get("kind") == "quick"),
    "running": Filter(
        "state = RUNNING", lambda each: each.state == ExperimentState.EXPERIMENT_STATE_RUNNING
    ),
}


class Change(NamedTuple):
    """A change as the database has it: in order of revision and ordinal."""

    revision: int
    uid: str
    before: Experiment | None
    after: Experiment | None


class Event(NamedTuple):
    """A change as a watcher sees it."""

    type: int
    revision: int
    uid: str
    digest: str


def token_position(token: str) -> tuple[int, str | None]:
    """The revision that a watch's token stands for, and how far into the initial state."""
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    revision, _, *place = raw[17:].decode().split(" ")
    return int(revision), place[0] if place else None


def call_line(watcher: str, filter: str, token: str, *, sdk: bool = False) -> str:  # noqa: A002
    """A call as it is written down; an SDK's watch is one, and resumes within it."""
    return json.dumps({"w": watcher, "filter": filter, "token": token, "sdk": sdk}) + "\n"


def frame_line(watcher: str, frame: WatchExperimentsResponse) -> str:
    """A frame as it is written down."""
    line: dict[str, Any] = {"w": watcher, "t": frame.resume_token}
    if frame.WhichOneof("frame") == "change":
        change = frame.change
        line["e"] = [change.type, change.revision, change.experiment.uid, digest(change.experiment)]
    else:
        line["b"] = int(frame.bookmark.type)
    return json.dumps(line) + "\n"


def digest(experiment: Experiment) -> str:
    """A short name of all that an experiment says."""
    return hashlib.sha256(experiment.SerializeToString(deterministic=True)).hexdigest()[:12]


class Log:
    """The change log as one filter sees it."""

    def __init__(self, changes: Iterable[Change], filter: Filter) -> None:  # noqa: A002
        self.whole = not filter.text
        self.events: list[Event] = []
        self.last: dict[int, int] = {}
        """For each revision the index behind its last event."""
        for change in changes:
            event = _event(change, filter)
            if event is not None:
                self.events.append(event)
                self.last[event.revision] = len(self.events)
        self._revisions = [event.revision for event in self.events]

    def behind(self, revision: int) -> int:
        """The index of the first event behind a revision."""
        return bisect_right(self._revisions, revision)

    def view(self, revision: int) -> dict[str, str]:
        """What matched at a revision: digests by uid."""
        found: dict[str, str] = {}
        for event in self.events[: self.behind(revision)]:
            if event.type == REMOVED:
                found.pop(event.uid, None)
            else:
                found[event.uid] = event.digest
        return found


@dataclass
class Watcher:
    """One watcher, replayed frame by frame.

    Attributes:
        faults: (guarantee, text) for each that was broken.
        frames: how many frames it got.
        next: the index of the event that has to come next; None: still in the initial state.
    """

    name: str
    log: Log
    faults: list[tuple[str, str]] = field(default_factory=list)
    frames: int = 0
    next: int | None = None
    _token: str = ""
    _view: dict[str, str] = field(default_factory=dict)
    _seen: set[Event] = field(default_factory=set)
    _resumed: bool = False
    _bookmarked: int = 0
    _last: int = 0

    def call(self, token: str) -> None:
        """A call begins."""
        self._resumed = bool(token)
        self._last = 0
        revision, place = token_position(token) if token else (0, "")
        if place is None:
            # What it knows is what the token stands for, be it its own or another watcher's.
            self.next = self.log.behind(revision)
            self._seen = {event for event in self._seen if event.revision <= revision}
        elif not token:
            self.next, self._view, self._seen = None, {}, set()
        elif token != self._token:
            raise ValueError("nobody goes on within the initial state of another watcher")

    def frame(self, line: Mapping[str, Any]) -> None:
        """A frame has come."""
        self.frames += 1
        revision, place = token_position(line["t"])
        if "b" in line:
            self._bookmark(line["b"], revision)
        elif self.next is None:
            self._initial(Event(*line["e"]))
        else:
            self._change(Event(*line["e"]), revision)
        self._token = line["t"]
        if place is not None and self.next is not None:
            self._fault("resumable", "a token within the initial state came behind it")

    def end(self, final: int) -> None:
        """Nothing more comes: everything up to a revision must have."""
        if self.next is None:
            self._fault("reliable", "the initial state was never complete")
        elif self.next < self.log.behind(final):
            missing = self.log.behind(final) - self.next
            self._fault("reliable", f"the last {missing} events never came")

    def _initial(self, event: Event) -> None:
        if event.type == REMOVED:
            self._view.pop(event.uid, None)
        else:
            self._view[event.uid] = event.digest

    def _bookmark(self, kind: int, revision: int) -> None:
        if kind == BookmarkType.BOOKMARK_TYPE_INITIAL_STATE_COMPLETE:
            if self.next is not None:
                self._fault("unique", "the initial state was complete before")
            wanted = self.log.view(revision)
            if self._view != wanted:
                wrong = {uid for uid, _ in self._view.items() ^ wanted.items()}
                self._fault("reliable", f"initial state at {revision}: wrong are {sorted(wrong)}")
            self.next = self.log.behind(revision)
        elif self.next is not None and self.next < self.log.behind(revision):
            missing = self.log.events[self.next]
            self._fault("bookmarkable", f"a bookmark of {revision} came before {missing}")
            self.next = self.log.behind(revision)
        self._bookmarked = max(self._bookmarked, revision)

    def _change(self, event: Event, revision: int) -> None:
        assert self.next is not None
        events = self.log.events
        wanted = events[self.next] if self.next < len(events) else None
        if event == wanted:
            self.next += 1
        elif event in self._seen:
            self._fault("unique", f"{event} came again")
        elif event.revision < self._last:
            self._fault("ordered", f"{event} came, {wanted} was next")
        elif event.revision <= self._bookmarked:
            self._fault("bookmarkable", f"{event} came behind a bookmark of {self._bookmarked}")
        else:
            broken = "resumable" if self._resumed else "reliable"
            self._fault(broken, f"{event} came, {wanted} was next")
            self.next = self.log.behind(event.revision)
        self._resumed = False
        self._seen.add(event)
        self._last = event.revision
        covered = event.revision if self.log.last.get(event.revision) == self.next else None
        if revision != covered and revision >= event.revision:
            self._fault("atomic", f"the token of {revision} does not cover all of {event.revision}")
        elif covered is not None and revision < covered and self.log.whole:
            self._fault("resumable", f"the token of {revision} does not cover {event}")

    def _fault(self, guarantee: str, text: str) -> None:
        self.faults.append((guarantee, f"{self.name}: {text}"))


def check(
    lines: Iterable[Mapping[str, Any]], changes: Sequence[Change], final: int
) -> tuple[list[tuple[str, str]], int, int]:
    """Replays what watchers wrote down; returns the faults, and how many calls and frames."""
    logs: dict[str, Log] = {}
    watchers: dict[str, Watcher] = {}
    calls = 0
    for line in lines:
        name = line["w"]
        if "filter" in line:
            calls += 1
            if line["filter"] not in logs:
                logs[line["filter"]] = Log(changes, FILTERS[line["filter"]])
            if name not in watchers:
                watchers[name] = Watcher(name, logs[line["filter"]])
            watchers[name].call(line["token"])
        else:
            watchers[name].frame(line)
    for watcher in watchers.values():
        if not watcher.name.startswith("travel"):
            watcher.end(final)
    faults = [fault for watcher in watchers.values() for fault in watcher.faults]
    return faults, calls, sum(watcher.frames for watcher in watchers.values())


def _event(change: Change, filter: Filter) -> Event | None:  # noqa: A002
    before = change.before is not None and filter.matches(change.before)
    after = change.after is not None and filter.matches(change.after)
    if after:
        assert change.after is not None
        kind = MODIFIED if before else ADDED
        return Event(kind, change.revision, change.uid, digest(change.after))
    if before:
        assert change.before is not None
        return Event(REMOVED, change.revision, change.uid, digest(change.before))
    return None
