"""Pages of lists: read on the event loop, in bounded portions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from subgrpc.errors import OutOfRange
from subgrpc.filters import EXPERIMENT_FIELDS, Filter, OrderBy
from subgrpc.metastore.database import ReadDatabase, Row
from subgrpc.metastore.queries import Queries, Query
from subgrpc.metastore.records import Change, Key, ListPage
from subgrpc.metastore.statements import Statements
from subgrpc.v1.experiment_service_pb2 import Experiment

PAGE_BYTES = 3 << 20
"""A page ends when its items come to this."""
SMALL_PAGE = 100
"""Up to this limit a page is fetched whole before its bytes are counted."""
_IMAGES = slice(3, 5)
"""Where a row of `change` has its bodies."""


class Listing:
    """The lists of a metastore."""

    def __init__(self, reader: ReadDatabase, statements: Statements, queries: Queries) -> None:
        self._reader = reader
        self._statements = statements
        self._queries = queries

    def experiments(
        self, team: str, given: Filter | None, order: OrderBy, after: Key | None, limit: int
    ) -> ListPage:
        """A page of a team's experiments: see `Metastore.list_experiments`."""
        plan = self._queries.experiments(given, order, resumed=after is not None, wide=False)
        parameters = {"team": team, "limit": limit + 1, **numbered("a", after)}
        if plan.window is None:
            items, more = self._bodies(plan.rest, parameters, limit)
            return ListPage(items, _key_of(items[-1], order) if more else None)
        self._reader.begin()
        try:
            end = self._reader.one(plan.window.sql, plan.window.parameters(parameters))
            items, more = self._bodies(
                plan.page if end else plan.rest, parameters | numbered("b", end), limit
            )
        finally:
            self._reader.end()
        if more:
            return ListPage(items, _key_of(items[-1], order))
        return ListPage(items, list(end) if end else None)

    def tasks(
        self, uid: str, attempt: int | None, given: Filter | None, after: Key | None, limit: int
    ) -> ListPage:
        """A page of an experiment's tasks: see `Metastore.list_tasks`."""
        query = self._queries.tasks(given, attempt is not None, after is not None)
        parameters = query.parameters(
            {"uid": uid, "attempt": attempt, "limit": limit + 1, **numbered("a", after)}
        )
        rows, more = take(self._reader, query.sql, parameters, limit)
        return ListPage([row[-1] for row in rows], list(rows[-1][:3]) if more else None)

    def events(self, uid: str, after: int, limit: int) -> ListPage:
        """A page of an experiment's history: see `Metastore.list_events`."""
        rows, more = take(self._reader, self._statements.events, (uid, after, limit + 1), limit)
        return ListPage([row[-1] for row in rows], [rows[-1][0]] if more else None)

    def changes_after(self, revision: int, limit: int) -> list[Change]:
        """The next changes, whole revisions: see `Metastore.changes_after`."""
        self._reader.begin()
        try:
            oldest = self._reader.all(self._statements.pruned)[0][0]
            rows, more = take(
                self._reader, self._statements.changes_after, (revision,), limit + 1, _IMAGES
            )
            if more and rows[0][0] == rows[-1][0]:
                more, rows = False, self._reader.all(self._statements.changes_in, rows[0][:1])
        finally:
            self._reader.end()
        if revision < oldest:
            text = f"changes up to revision {oldest} are no longer kept"
            raise OutOfRange(text, reason="RESUME_TOKEN_EXPIRED")
        changes = [Change._make(row) for row in rows]
        if not more:
            return changes
        last = changes[-1].revision
        return [each for each in changes if each.revision < last]

    def _bodies(
        self, query: Query, given: Mapping[str, Any], limit: int
    ) -> tuple[list[bytes], bool]:
        """As `take`, of rows that are bodies only; a small page is read in one go."""
        parameters = query.parameters(given)
        if limit <= SMALL_PAGE:
            items = [body for (body,) in self._reader.all(query.sql, parameters)]
            if sum(map(len, items)) <= PAGE_BYTES:
                more = len(items) > limit
                return items[:limit], more
        rows, more = take(self._reader, query.sql, parameters, limit)
        return [body for (body,) in rows], more


def take(
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
    with closing(reader.rows(sql, parameters)) as rows:
        for row in rows:
            size += sum(len(each) for each in row[bodies] if each is not None)
            if len(taken) == limit or (size > PAGE_BYTES and taken):
                return taken, True
            taken.append(row)
    return taken, False


def _key_of(body: bytes, order: OrderBy) -> Key:
    """The place of an experiment in an order: all that it needs is in the message."""
    experiment = Experiment.FromString(body)
    value = EXPERIMENT_FIELDS[order.column].read(experiment)
    return [value or 0, experiment.uid]


def numbered(prefix: str, key: Sequence[Any] | None) -> dict[str, Any]:
    """A key's values as parameters, such as a0 and a1."""
    return {f"{prefix}{number}": value for number, value in enumerate(key or ())}
