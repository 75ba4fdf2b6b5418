"""What a watch begins with: the resources of a team as they were at one revision.

It is read window by window, at the watcher's pace and without a transaction that stays open (that
would keep the write-ahead log from being emptied). Rows are read as they are by then; one that
has changed since the snapshot's revision is replaced by the before-image of its first change
since. So is one that is gone by then.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from subgrpc.errors import OutOfRange
from subgrpc.filters import Filter, OrderBy
from subgrpc.metastore.database import ReadDatabase, Row
from subgrpc.metastore.kinds import Kind
from subgrpc.metastore.listing import numbered, take
from subgrpc.metastore.queries import Queries
from subgrpc.metastore.records import Item
from subgrpc.metastore.statements import Statements

ROWS = 200
"""Rows that are read at a time."""

_BY_UID = OrderBy("uid", descending=False)


class SnapshotReader:
    """Reads the resources of one kind in a snapshot, once, by uid."""

    def __init__(
        self,
        reader: ReadDatabase,
        statements: Statements,
        queries: Queries,
        kind: Kind,
        team: str,
        given: Filter | None,
        revision: int,
    ) -> None:
        self._reader = reader
        self._statements = statements
        self._queries = queries
        self._kind = kind
        self._team = team
        self._filter = given
        self._revision = revision
        self._seen = revision
        self._first_changes: dict[str, tuple[int, int]] = {}

    async def windows(self) -> AsyncIterator[list[Item]]:
        """Yields resources, in portions that may be empty, by ascending uid.

        Raises:
            OutOfRange: RESUME_TOKEN_EXPIRED, changes since the revision are no longer kept.
        """
        after: str | None = None
        while True:
            async with self._reader.consistent() as reader:
                await self._note_changes(reader)
                rows, end = await self._rows(reader, after)
                items = {uid: body for uid, revision, body in rows if revision <= self._revision}
                items |= await self._before_images(reader, after, end)
            yield [Item(self._kind.name, uid, items[uid]) for uid in sorted(items)]
            if end is None:
                return
            after = end

    async def _rows(self, reader: ReadDatabase, after: str | None) -> tuple[list[Row], str | None]:
        """The next rows (uid, revision, body), and the uid that they end with; None: the last."""
        plan = self._queries.resources(
            self._kind, self._filter, _BY_UID, resumed=after is not None, wide=True
        )
        given = {"team": self._team, "limit": ROWS + 1, "a0": after}
        last = None
        if plan.window is not None:
            last = await reader.one(plan.window.sql, plan.window.parameters(given))
        query = plan.page if last else plan.rest
        parameters = query.parameters(given | numbered("b", last))
        rows, more = await take(reader, query.sql, parameters, ROWS)
        if more:
            return rows, rows[-1][0]
        return rows, last[0] if last else None

    async def _note_changes(self, reader: ReadDatabase) -> None:
        """Notes the first change of each resource since the revision."""
        pruned = (await reader.all(self._statements.pruned))[0][0]
        if self._revision < pruned:
            text = f"this watch began too slowly: changes up to revision {pruned} are gone"
            raise OutOfRange(text, reason="RESUME_TOKEN_EXPIRED")
        now = (await reader.all(self._statements.revision))[0][0]
        key = (self._seen, now, self._kind.name, self._team)
        changed = await reader.all(self._statements.changed_uids, key)
        for revision, ordinal, uid in changed:
            self._first_changes.setdefault(uid, (revision, ordinal))
        self._seen = now

    async def _before_images(
        self, reader: ReadDatabase, after: str | None, end: str | None
    ) -> dict[str, bytes]:
        """The resources of a window that have changed, as they were, by uid."""
        found = {}
        for uid in [each for each in self._first_changes if end is None or each <= end]:
            place = self._first_changes.pop(uid)
            if after is not None and uid <= after:
                continue  # Changed since its window was read: it was sent as it was.
            (before,) = (await reader.all(self._statements.before, place))[0]
            if before is not None and self._matches(before):
                found[uid] = before
        return found

    def _matches(self, body: bytes) -> bool:
        return self._filter is None or self._filter.matches(self._kind.parse(body))
