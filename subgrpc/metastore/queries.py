"""Lists with filters: the SQL of a `Filter`, and how a page of it is read without long scans.

A list walks an index in its order. Conditions that an index serves take part in the walk; the
others are judged row by row within a window of rows, whose end is looked up first. So a page costs
a bounded amount of work whatever its filter, and may be short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy import bindparam as at
from sqlalchemy.engine import Dialect

from subgrpc.filters import And, Comparison, Filter, Node, OrderBy
from subgrpc.metastore import clauses
from subgrpc.metastore.clauses import Clause
from subgrpc.metastore.kinds import Kind, Related
from subgrpc.metastore.tables import table

WINDOW = 5_000
"""How many rows a page may look at that it does not return."""

TEAM = ("team",)
"""The scope of lists of all that a team has."""

_task = table("task")

# SQLAlchemy would bind the 0 that SQLite's grammar wants after a LIMIT.
_ZERO: ColumnElement[int] = literal_column("0")


@dataclass(frozen=True, slots=True)
class Query:
    """A compiled statement whose parameters are partly known."""

    sql: str
    slots: tuple[tuple[str, Any], ...]

    def parameters(self, given: Mapping[str, Any]) -> list[Any]:
        """All parameters in order, with those of this call."""
        return [given.get(name, value) for name, value in self.slots]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a page is read.

    Attributes:
        page: parameters of the scope, a0, a1 (the key to begin after), limit; if `window` is set,
            also b0, b1 (the key to end with).
        window: finds that key, for scope, a0, a1: no row means that it is not needed.
        rest: the page for a walk whose end is near: without b0, b1.
    """

    page: Query
    window: Query | None
    rest: Query


class Queries:
    """Makes and keeps the plans of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.resources = lru_cache(maxsize=512)(self._resources)
        self.tasks = lru_cache(maxsize=128)(self._tasks)

    def _resources(
        self,
        kind: Kind,
        given: Filter | None,
        order: OrderBy,
        *,
        resumed: bool,
        wide: bool = False,
        scope: tuple[str, ...] = TEAM,
    ) -> Plan:
        """The plan of a list of resources.

        Args:
            kind: of which kind.
            given: which; None: all.
            order: in which order.
            resumed: it begins after a key.
            wide: rows are key, revision and body, not only the body.
            scope: columns that have the same value in all of them, and with which the indexes of
                the order begin; each is a parameter.
        """
        walk = _Walk.of(kind, given, order, scope)
        base = walk.base(resumed, wide)
        page = base.order_by(*walk.ordering).limit(at("limit")).offset(_ZERO)
        if not walk.filtered:
            query = self._compile(page)
            return Plan(query, None, query)
        last = (
            select(*walk.key)
            .where(*walk.start(resumed))
            .order_by(*walk.ordering)
            .limit(literal_column("1"))
            .offset(literal_column(str(WINDOW - 1)))
        )
        if walk.unique:
            rest = self._compile(page.where(*walk.filtered))
            return Plan(rest, None, rest)
        return Plan(
            self._compile(page.where(walk.until(), *walk.filtered)),
            self._compile(last),
            self._compile(page.where(*walk.filtered)),
        )

    def _tasks(self, given: Filter | None, one_attempt: bool, resumed: bool) -> Query:
        """A page of tasks: parameters uid, attempt, a0, a1, a2, limit; rows are key, body."""
        it = _task.c
        key = (it.attempt, it.role, it.number)
        conditions: list[Clause] = [it.experiment_uid == at("uid")]
        if one_attempt:
            conditions.append(it.attempt == at("attempt"))
        if resumed:
            conditions.append(tuple_(*key) > tuple_(at("a0"), at("a1"), at("a2")))
        if given is not None:
            conditions.append(clauses.of_task(given.root))
        statement = select(*key, it.body).where(*conditions).order_by(*key)
        return self._compile(statement.limit(at("limit")).offset(_ZERO))

    def _compile(self, statement: Select[Any]) -> Query:
        found = statement.compile(dialect=self._dialect)
        names = found.positiontup or ()
        return Query(str(found), tuple((name, found.params[name]) for name in names))


@dataclass(frozen=True, slots=True)
class _Walk:
    """The walk along an index that a list is.

    Attributes:
        kind: what is listed.
        key: the columns of its order.
        scope: the columns that the scope fixes, in the table that has the index.
        descending: its direction.
        served: conditions that the index serves.
        filtered: conditions to be judged row by row.
        unique: at most one row is met.
        related: the index is that of this field's table; None: of the resources' own.
    """

    kind: Kind
    key: tuple[Column[Any], ...]
    scope: tuple[Column[Any], ...]
    descending: bool
    served: tuple[Clause, ...]
    filtered: tuple[Clause, ...]
    unique: bool
    related: Related | None

    @classmethod
    def of(cls, kind: Kind, given: Filter | None, order: OrderBy, scope: tuple[str, ...]) -> _Walk:
        conjuncts = _conjuncts(given)
        unique = _first_equality(conjuncts, kind.unique)
        driver = unique
        if driver is None and order.column == "create_time" and scope == TEAM:
            driver = _first_equality(conjuncts, kind.indexed)
        related = kind.related.get(driver.field) if driver else None
        key = _key(kind, order, related)
        served = [] if driver is None else _served(kind, driver, related)
        filtered: list[Clause] = []
        for each in conjuncts:
            if each is driver:
                continue
            if isinstance(each, Comparison) and each.field == order.column:
                served.append(clauses.served(kind, each, key[0]))
            else:
                filtered.append(clauses.judged(kind, each))
        return cls(
            kind=kind,
            key=key,
            scope=tuple(key[0].table.c[each] for each in scope),
            descending=order.descending,
            served=tuple(served),
            filtered=tuple(filtered),
            unique=unique is not None,
            related=related,
        )

    @property
    def ordering(self) -> tuple[ColumnElement[Any], ...]:
        return tuple(each.desc() if self.descending else each.asc() for each in self.key)

    def start(self, resumed: bool) -> list[Clause]:
        """Where the walk begins and what the index serves."""
        after = tuple_(*(at(f"a{number}") for number in range(len(self.key))))
        fixed = [column == at(column.name) for column in self.scope]
        conditions: list[Clause] = [*fixed, *self.served]
        if resumed:
            key = tuple_(*self.key)
            conditions.append(key < after if self.descending else key > after)
        return conditions

    def until(self) -> Clause:
        """Where the window ends."""
        last = tuple_(*(at(f"b{number}") for number in range(len(self.key))))
        key = tuple_(*self.key)
        return key >= last if self.descending else key <= last

    def base(self, resumed: bool, wide: bool) -> Select[Any]:
        it = self.kind.table
        columns = (*self.key, it.c.revision, it.c.body) if wide else (it.c.body,)
        statement = select(*columns).where(*self.start(resumed))
        if self.related is not None:
            joined = self.related.value.table.join(it, self.related.on)
            return statement.select_from(joined)
        return statement


def _conjuncts(given: Filter | None) -> Sequence[Node]:
    if given is None:
        return ()
    return given.root.of if isinstance(given.root, And) else (given.root,)


def _first_equality(conjuncts: Sequence[Node], fields: Sequence[str]) -> Comparison | None:
    """The first condition `field = …`, of the first of these fields that has one."""
    for field in fields:
        for each in conjuncts:
            if isinstance(each, Comparison) and each.op == "=" and each.field == field:
                return each
    return None


def _served(kind: Kind, driver: Comparison, related: Related | None) -> list[Clause]:
    if related is None:
        return [clauses.served(kind, driver)]
    keys = [] if related.key is None else [related.key == driver.key]
    return [*keys, related.value == driver.value]


def _key(kind: Kind, order: OrderBy, related: Related | None) -> tuple[Column[Any], ...]:
    if related is not None:
        return related.walk
    if order.column in kind.sole:
        return (kind.column(order.column),)
    return kind.column(order.column), kind.table.c.uid
