"""Pages of lists: read on the event loop, in bounded portions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from subgrpc.errors import OutOfRange
from subgrpc.filters import Filter, OrderBy
from subgrpc.metastore.database import ReadDatabase, Row
from subgrpc.metastore.kinds import Kind
from subgrpc.metastore.queries import Queries, Query
from subgrpc.metastore.records import Change, Key, ListPage
from subgrpc.metastore.statements import Statements

PAGE_BYTES = 3 << 20
"""A page ends when its items come to this."""
SMALL_PAGE = 100
"""Up to this limit a page is fetched whole before its bytes are counted."""
_IMAGES = slice(3, 5)
"""Where a row of `change` has its bodies."""


class Portion(NamedTuple):
    """Changes between two revisions.

    Attributes:
        oldest: changes up to this revision are no longer kept.
        reached: there are no others up to this one.
        changes: whole revisions.
    """

    oldest: int
    reached: int
    changes: list[Change]


class Listing:
    """The lists of a metastore."""

    def __init__(self, reader: ReadDatabase, statements: Statements, queries: Queries) -> None:
        self._reader = reader
        self._statements = statements
        self._queries = queries

    async def resources(
        self,
        kind: Kind,
        scope: Mapping[str, str],
        given: Filter | None,
        order: OrderBy,
        after: Key | None,
        limit: int,
    ) -> ListPage:
        """A page of the resources of a kind: see `Metastore.list_experiments`."""
        plan = self._queries.resources(
            kind, given, order, resumed=after is not None, scope=tuple(scope)
        )
        parameters = {**scope, "limit": limit + 1, **numbered("a", after)}
        if plan.window is None:
            items, more = await self._bodies(self._reader, plan.rest, parameters, limit)
            return ListPage(items, _key_of(kind, items[-1], order) if more else None)
        async with self._reader.consistent() as reader:
            end = await reader.one(plan.window.sql, plan.window.parameters(parameters))
            query = plan.page if end else plan.rest
            items, more = await self._bodies(reader, query, parameters | numbered("b", end), limit)
        if more:
            return ListPage(items, _key_of(kind, items[-1], order))
        return ListPage(items, list(end) if end else None)

    async def tasks(
        self, uid: str, attempt: int | None, given: Filter | None, after: Key | None, limit: int
    ) -> ListPage:
        """A page of an experiment's tasks: see `Metastore.list_tasks`."""
        query = self._queries.tasks(given, attempt is not None, after is not None)
        parameters = query.parameters(
            {"uid": uid, "attempt": attempt, "limit": limit + 1, **numbered("a", after)}
        )
        rows, more = await take(self._reader, query.sql, parameters, limit)
        return ListPage([row[-1] for row in rows], list(rows[-1][:3]) if more else None)

    async def events(self, uid: str, after: int, limit: int) -> ListPage:
        """A page of an experiment's history: see `Metastore.list_events`."""
        parameters = (uid, after, limit + 1)
        rows, more = await take(self._reader, self._statements.events, parameters, limit)
        return ListPage([row[-1] for row in rows], [rows[-1][0]] if more else None)

    async def changes_after(self, revision: int, limit: int) -> list[Change]:
        """The next changes, whole revisions: see `Metastore.changes_after`."""
        statements = self._statements
        async with self._reader.consistent() as reader:
            oldest = (await reader.all(statements.pruned))[0][0]
            rows, more = await take(
                reader, statements.changes_after, (revision,), limit + 1, _IMAGES
            )
            if more and rows[0][0] == rows[-1][0]:
                more, rows = False, await reader.all(statements.changes_in, rows[0][:1])
        if revision < oldest:
            text = f"changes up to revision {oldest} are no longer kept"
            raise OutOfRange(text, reason="RESUME_TOKEN_EXPIRED")
        changes = [Change._make(row) for row in rows]
        if not more:
            return changes
        last = changes[-1].revision
        return [each for each in changes if each.revision < last]

    async def newest(self) -> int:
        """The last committed revision."""
        row = await self._reader.one(self._statements.revision)
        return 0 if row is None else row[0]

    async def portion(self, revision: int, until: int | None, limit: int) -> Portion:
        """The next changes after a revision, up to `until` or the last one."""
        statements = self._statements
        async with self._reader.consistent() as reader:
            oldest = (await reader.all(statements.pruned))[0][0]
            newest = (await reader.all(statements.revision))[0][0]
            begin, end = max(revision, oldest), newest if until is None else min(until, newest)
            sql, key = statements.changes_until, (begin, end)
            rows, more = (
                await take(reader, sql, key, limit + 1, _IMAGES) if end > begin else ([], False)
            )
            if more and rows[0][0] == rows[-1][0]:
                rows = await reader.all(statements.changes_in, rows[0][:1])
                return Portion(oldest, rows[0][0], [Change._make(row) for row in rows])
        changes = [Change._make(row) for row in rows]
        if more:
            end = changes[-1].revision - 1
            changes = [each for each in changes if each.revision <= end]
        return Portion(oldest, end, changes)

    async def _bodies(
        self, reader: ReadDatabase, query: Query, given: Mapping[str, Any], limit: int
    ) -> tuple[list[bytes], bool]:
        """As `take`, of rows that are bodies only; a small page is read in one go."""
        parameters = query.parameters(given)
        if limit <= SMALL_PAGE:
            items = [body for (body,) in await reader.all(query.sql, parameters)]
            if sum(map(len, items)) <= PAGE_BYTES:
                more = len(items) > limit
                return items[:limit], more
        rows, more = await take(reader, query.sql, parameters, limit)
        return [body for (body,) in rows], more


async def take(
    reader: ReadDatabase,
    sql: str,
    parameters: Sequence[Any],
    limit: int,
    bodies: slice = slice(-1, None),
) -> tuple[list[Row], bool]:
    """Reads at most `limit` rows, and `PAGE_BYTES` of bodies but at least one row.

    Args:
        reader: where.
        sql: a query.
        parameters: its parameters.
        limit: of rows.
        bodies: the columns that are weighed.

    Returns:
        The rows, and whether there are more.
    """
    taken: list[Row] = []
    size = 0
    async with aclosing(reader.rows(sql, parameters)) as rows:
        async for row in rows:
            size += sum(len(each) for each in row[bodies] if each is not None)
            if len(taken) == limit or (size > PAGE_BYTES and taken):
                return taken, True
            taken.append(row)
    return taken, False


def _key_of(kind: Kind, body: bytes, order: OrderBy) -> Key:
    """The place of a resource in an order: all that it needs is in the message."""
    message = kind.parse(body)
    value = kind.fields[order.column].read(message)
    return (
        [value or 0]
        if order.column in kind.sole
        else [value or 0, kind.fields["uid"].read(message)]
    )


def numbered(prefix: str, key: Sequence[Any] | None) -> dict[str, Any]:
    """A key's values as parameters, such as a0 and a1."""
    return {f"{prefix}{number}": value for number, value in enumerate(key or ())}
