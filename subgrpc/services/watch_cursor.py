"""A watcher's cursor over the change log: where it stands, what it sees, what it is still owed.

Where a watcher stands is a `Position`: it knows the resources up to a place in the initial
state's order as they were at a revision (all of them, once that state is complete). That is what
a resume token holds, so that a watcher may break off anywhere, also in the middle of the initial
state, and go on without missing a change.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from subgrpc.errors import OutOfRange
from subgrpc.filters import Filter
from subgrpc.metastore import EXPERIMENTS, Change, Kind, Metastore
from subgrpc.services import wire
from subgrpc.services.experiment_changes import TERMINAL
from subgrpc.tokens import Sealer
from subgrpc.v1 import experiment_service_pb2 as api

BATCH: Final = 64
"""Changes that a watcher holds at a time: what one that does not read keeps from being freed."""


Place = str
"""Where a resource comes in the initial state, by which snapshots are ordered: see `View.place`."""


class Position(NamedTuple):
    """What a watcher knows.

    Attributes:
        revision: it knows what was true at this revision
        known: of the resources that do not come behind this place; None: of all.
        matched: whether it ever got a resource.
        seen: of the next revision, so many changes it knows already.
    """

    revision: int = 0
    known: Place | None = ""
    matched: bool = False
    seen: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """What a watcher sees: the resources of a team that match a filter.

    Attributes:
        team: the team.
        filter: which; None: all.
        kinds: of which kinds, in the order of the initial state.
        fields: the number of the field of a frame's change that holds a resource, by kind.
    """

    team: str
    filter: Filter | None
    kinds: tuple[Kind, ...]
    fields: Mapping[str, int]

    def place(self, kind: str, uid: str) -> Place:
        """Where a resource comes; that of the only kind is its uid."""
        if len(self.kinds) == 1:
            return uid
        return f"{[each.name for each in self.kinds].index(kind)}{uid}"

    def is_behind(self, change: Change, known: Place) -> bool:
        """Whether a change is of a resource that comes behind a place, or of none that is seen."""
        seen = any(each.name == change.kind for each in self.kinds)
        return not seen or self.place(change.kind, change.uid) > known

    def type_of(self, change: Change) -> api.ChangeType.ValueType | None:
        """What a change does, as the filter sees it; None: nothing."""
        kind = next((each for each in self.kinds if each.name == change.kind), None)
        if kind is None or change.team != self.team:
            return None
        before, after = self._matches(kind, change.before), self._matches(kind, change.after)
        if after:
            return api.CHANGE_TYPE_MODIFIED if before else api.CHANGE_TYPE_ADDED
        return api.CHANGE_TYPE_REMOVED if before else None

    def _matches(self, kind: Kind, body: bytes | None) -> bool:
        """Whether a serialised resource is there and matches."""
        return body is not None and (self.filter is None or self.filter.matches(parse(kind, body)))


class Pending:
    """For `until_terminal`: the experiments that match and have not ended.

    They are known as of one revision, and by every change after it. Changes up to it, which a
    resumed watcher still gets, do not count.
    """

    def __init__(self) -> None:
        self._revision = 0
        self._uids: set[str] = set()
        self._matched = False

    def begin(self, revision: int) -> None:
        """Every experiment that matches at a revision is now told to `see`."""
        self._revision = revision

    def see(self, body: bytes) -> None:
        """Takes an experiment that matched at that revision."""
        self._matched = True
        experiment = parse(EXPERIMENTS, body)
        if experiment.state not in TERMINAL:
            self._uids.add(experiment.uid)

    def note(self, change: Change, kind: api.ChangeType.ValueType | None) -> None:
        """Takes a change, and what it does."""
        if kind is None or change.revision <= self._revision:
            return
        ended = change.after is None or parse(EXPERIMENTS, change.after).state in TERMINAL
        if ended or kind == api.CHANGE_TYPE_REMOVED:
            self._uids.discard(change.uid)
        else:
            self._uids.add(change.uid)

    def over(self, position: Position) -> bool:
        """Whether a watcher at this position has seen the last change."""
        matched = self._matched or position.matched
        return matched and not self._uids and position.revision >= self._revision


class Cursor:
    """One watcher: its position, and the serialised frames that lead on from there."""

    def __init__(
        self,
        store: Metastore,
        view: View,
        sealer: Sealer,
        resume_token: str,
        pending: Pending | None = None,
    ) -> None:
        """Starts at the beginning or behind a resume token.

        Raises:
            InvalidArgument: reason RESUME_TOKEN_INVALID.
        """
        self.position = _opened(sealer, resume_token) if resume_token else Position()
        self._store = store
        self._view = view
        self._sealer = sealer
        self._pending = pending

    async def begin(self) -> AsyncIterator[bytes]:
        """What is missing of the initial state, with its bookmark."""
        known = self.position.known
        if known is None and self._pending is None:
            return
        view = self._view
        snapshot = await self._store.snapshot(view.team, view.filter, view.kinds)
        if self._pending is not None:
            self._pending.begin(snapshot.revision)
        if known:
            # What was sent before the watcher broke off is brought up to date first.
            async for frame in self._catch_up(snapshot.revision, known):
                yield frame
        async for kind, uid, body in snapshot.items:
            if self._pending is not None:
                self._pending.see(body)
            if known is None or (place := view.place(kind, uid)) <= known:
                continue
            self.position = Position(snapshot.revision, place, True)
            yield self._frame(api.CHANGE_TYPE_ADDED, kind, body, snapshot.revision)
        if known is not None:
            self.position = self.position._replace(revision=snapshot.revision, known=None, seen=0)
            yield self.bookmark(api.BOOKMARK_TYPE_INITIAL_STATE_COMPLETE)

    async def follow(self) -> Iterator[bytes]:
        """The next few changes; after them the position is behind what was looked at.

        Each frame moves the position, as it is taken.

        Raises:
            OutOfRange: the changes behind the position are no longer kept.
        """
        newest = self._store.feed.revision
        return self._frames(await self._next_changes(), newest)

    def _frames(self, changes: Sequence[Change], newest: int) -> Iterator[bytes]:
        for index, change in enumerate(changes):
            frame = self._advance(change, _is_last(changes, index))
            if frame is not None:
                yield frame
        if not changes and newest > self.position.revision:
            self.position = self.position._replace(revision=newest, seen=0)

    def over(self) -> bool:
        """Whether `until_terminal` was asked for and has come."""
        complete = self.position.known is None
        return complete and self._pending is not None and self._pending.over(self.position)

    def bookmark(self, kind: api.BookmarkType.ValueType) -> bytes:
        """A frame without a change."""
        return self._token() + wire.length_delimited(3, wire.number(1, kind))

    async def _catch_up(self, revision: int, known: Place) -> AsyncIterator[bytes]:
        """The changes up to a revision of the resources that the watcher knows."""
        while self.position.revision < revision:
            changes = await self._next_changes()
            for index, change in enumerate(changes):
                if change.revision > revision:
                    return
                unseen = self._view.is_behind(change, known)
                frame = self._advance(change, _is_last(changes, index), silent=unseen)
                if frame is not None:
                    yield frame
            if not changes:
                return
            await asyncio.sleep(0)

    async def _next_changes(self) -> list[Change]:
        """About `BATCH` changes: up to the end of a revision, so that all know where it ends."""
        behind, seen = self.position.revision, self.position.seen
        changes = await self._changes_after(behind)
        if not seen:
            return changes
        return [each for each in changes if each.revision > behind + 1 or each.ordinal >= seen]

    async def _changes_after(self, behind: int) -> list[Change]:
        """The next whole revisions."""
        changes = self._store.feed.after(behind)
        if changes is not None:
            return _whole_revisions(changes)
        try:
            return await self._store.changes_after(behind, BATCH)
        except OutOfRange as error:
            text = (
                "the changes behind this point are no longer kept: the resume token is too old, "
                "or this watcher reads too slowly; watch anew without a token"
            )
            raise OutOfRange(text, reason="RESUME_TOKEN_EXPIRED") from error

    def _advance(self, change: Change, last: bool, silent: bool = False) -> bytes | None:
        """Moves on behind a change; the frame that it makes, if any."""
        kind = None if silent else self._view.type_of(change)
        if self._pending is not None:
            self._pending.note(change, kind)
        known, matched = self.position.known, self.position.matched or kind is not None
        revision, seen = (change.revision, 0) if last else (change.revision - 1, change.ordinal + 1)
        self.position = Position(revision, known, matched, seen)
        if kind is None:
            return None
        body = change.before if kind == api.CHANGE_TYPE_REMOVED else change.after
        assert body is not None
        return self._frame(kind, change.kind, body, change.revision)

    def _frame(
        self, change_type: api.ChangeType.ValueType, kind: str, body: bytes, revision: int
    ) -> bytes:
        resource = wire.length_delimited(self._view.fields[kind], body)
        change = wire.number(1, change_type) + resource + wire.number(3, revision)
        return self._token() + wire.length_delimited(2, change)

    def _token(self) -> bytes:
        revision, known, matched, seen = self.position
        place = "" if known is None else f" {known}"
        part = f"+{seen}" if seen else ""
        payload = f"{revision}{part} {matched:d}{place}"
        return wire.length_delimited(1, self._sealer.seal(payload.encode()).encode())


@lru_cache(maxsize=64)
def parse(kind: Kind, body: bytes) -> Any:
    """A resource, not to be changed: many watchers look at the same change at the same time."""
    return kind.parse(body)


def _opened(sealer: Sealer, token: str) -> Position:
    payload = sealer.open(token, reason="RESUME_TOKEN_INVALID", field="resume_token")
    reached, matched, *place = payload.decode().split(" ")
    revision, _, seen = reached.partition("+")
    known = place[0] if place else None
    return Position(int(revision), known, matched == "1", int(seen or 0))


def _is_last(changes: Sequence[Change], index: int) -> bool:
    """Whether a change is the last one of its revision."""
    return index + 1 == len(changes) or changes[index + 1].revision != changes[index].revision


def _whole_revisions(changes: list[Change]) -> list[Change]:
    end = min(len(changes), BATCH)
    while end < len(changes) and changes[end].revision == changes[end - 1].revision:
        end += 1
    return changes[:end]
