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
from subgrpc.metastore.tables import table

WINDOW = 5_000
"""How many rows a page may look at that it does not return."""

_experiment, _label, _task = table("experiment"), table("label"), table("task")
_INDEXED = ("labels", "creator", "cluster", "state")
"""Fields with an index that continues with create_time: the likely most selective first."""

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
        page: parameters team, a0, a1 (the key to begin after), limit; if `window` is set, also
            b0, b1 (the key to end with).
        window: finds that key, for team, a0, a1: no row means that it is not needed.
        rest: the page for a walk whose end is near: without b0, b1.
    """

    page: Query
    window: Query | None
    rest: Query


class Queries:
    """Makes and keeps the plans of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.experiments = lru_cache(maxsize=512)(self._experiments)
        self.tasks = lru_cache(maxsize=128)(self._tasks)

    def _experiments(
        self, given: Filter | None, order: OrderBy, *, resumed: bool, wide: bool
    ) -> Plan:
        """The plan of a list of experiments.

        Args:
            given: which; None: all.
            order: in which order.
            resumed: it begins after a key.
            wide: rows are key, revision and body, not only the body.
        """
        walk = _Walk.of(given, order)
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
        key: the columns of its order.
        team: the team's column in the table that has the index.
        descending: its direction.
        served: conditions that the index serves.
        filtered: conditions to be judged row by row.
        unique: at most one row is met.
        by_label: the index is that of labels.
    """

    key: tuple[Column[Any], ...]
    team: Column[Any]
    descending: bool
    served: tuple[Clause, ...]
    filtered: tuple[Clause, ...]
    unique: bool
    by_label: bool

    @classmethod
    def of(cls, given: Filter | None, order: OrderBy) -> _Walk:
        conjuncts = _conjuncts(given)
        unique = _equality(conjuncts, "uid") or _equality(conjuncts, "experiment_id")
        driver = unique or _driver(conjuncts, order)
        by_label = driver is not None and driver.field == "labels"
        key = _key(order, by_label)
        served = [] if driver is None else _served(driver)
        filtered: list[Clause] = []
        for each in conjuncts:
            if each is driver:
                continue
            if isinstance(each, Comparison) and each.field == order.column:
                served.append(clauses.served(each, key[0]))
            else:
                filtered.append(clauses.judged(each))
        return cls(
            key=key,
            team=_label.c.team if by_label else _experiment.c.team,
            descending=order.descending,
            served=tuple(served),
            filtered=tuple(filtered),
            unique=unique is not None,
            by_label=by_label,
        )

    @property
    def ordering(self) -> tuple[ColumnElement[Any], ...]:
        return tuple(each.desc() if self.descending else each.asc() for each in self.key)

    def start(self, resumed: bool) -> list[Clause]:
        """Where the walk begins and what the index serves."""
        after = tuple_(*(at(f"a{number}") for number in range(len(self.key))))
        conditions: list[Clause] = [self.team == at("team"), *self.served]
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
        it = _experiment.c
        columns = (*self.key, it.revision, it.body) if wide else (it.body,)
        statement = select(*columns).where(*self.start(resumed))
        if self.by_label:
            joined = _label.join(_experiment, it.uid == _label.c.experiment_uid)
            return statement.select_from(joined)
        return statement


def _conjuncts(given: Filter | None) -> Sequence[Node]:
    if given is None:
        return ()
    return given.root.of if isinstance(given.root, And) else (given.root,)


def _equality(conjuncts: Sequence[Node], field: str) -> Comparison | None:
    """The first condition `field = …`."""
    for each in conjuncts:
        if isinstance(each, Comparison) and each.op == "=" and each.field == field:
            return each
    return None


def _driver(conjuncts: Sequence[Node], order: OrderBy) -> Comparison | None:
    """The condition whose index is walked; such indexes are in the order of create_time."""
    if order.column != "create_time":
        return None
    found = (_equality(conjuncts, field) for field in _INDEXED)
    return next((each for each in found if each is not None), None)


def _served(driver: Comparison) -> list[Clause]:
    if driver.field == "labels":
        return [_label.c.key == driver.key, _label.c.value == driver.value]
    return [clauses.served(driver)]


def _key(order: OrderBy, by_label: bool) -> tuple[Column[Any], ...]:
    if order.column == "uid":
        return (_experiment.c.uid,)
    if by_label:
        return _label.c.create_time, _label.c.experiment_uid
    return _experiment.c[order.column], _experiment.c.uid
