"""The SQL of a filter's conditions: two-valued like `Filter.matches`, since no column is NULL."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Integer, and_, exists, false, literal_column, not_, or_, true

from subgrpc.filters import And, Comparison, Has, Node, Not, Or
from subgrpc.metastore.kinds import Kind, Related
from subgrpc.metastore.tables import table

Clause = ColumnElement[bool]
Leaf = Comparison | Has

_task = table("task")
_TASK_COLUMNS = {"state": "state", "role": "role", "index": "number", "reason": "reason"}
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def judged(kind: Kind, node: Node) -> Clause:
    """A condition on resources in a form that no index serves: it is judged row by row.

    Otherwise a planner could leave the order of the list to follow the condition's index, and
    sort all that it finds.
    """
    return _translated(node, lambda leaf: _judged_leaf(kind, leaf))


def served(kind: Kind, node: Comparison, column: ColumnElement[Any] | None = None) -> Clause:
    """A comparison of a resource's column (or `column` in its place) that an index serves."""
    return _compared(kind, kind.column(node.field) if column is None else column, node)


def of_task(node: Node) -> Clause:
    """A condition on tasks."""
    return _translated(node, _task_leaf)


def _translated(node: Node, leaf: Callable[[Leaf], Clause]) -> Clause:
    if isinstance(node, Not):
        return not_(_translated(node.of, leaf))
    if isinstance(node, And):
        return and_(*(_translated(each, leaf) for each in node.of))
    if isinstance(node, Or):
        return or_(*(_translated(each, leaf) for each in node.of))
    return leaf(node)


def _judged_leaf(kind: Kind, node: Leaf) -> Clause:
    if node.field in kind.constants:
        assert isinstance(node, Comparison), "a field without keys is there"
        return true() if node.value == kind.constants[node.field] else false()
    if kind.lacks(node.field):
        return false()
    related = kind.related.get(node.field)
    if related is not None:
        return _has(kind, related, node)
    assert isinstance(node, Comparison), "a field without keys is there"
    column = kind.column(node.field)
    if isinstance(column.type, Integer):
        return _compared(kind, column + literal_column("0"), node)
    return _compared(kind, column.concat(literal_column("''")), node)


def _has(kind: Kind, related: Related, node: Leaf) -> Clause:
    conditions = [related.on]
    if related.key is not None:
        conditions.append(related.key == node.key)
    if isinstance(node, Comparison):
        conditions.append(_COMPARE[node.op](related.value, node.value))
    return exists(literal_column("1")).where(*conditions).correlate(kind.table)


def _task_leaf(node: Leaf) -> Clause:
    assert isinstance(node, Comparison), "tasks have no labels"
    found: Clause = _COMPARE[node.op](_task.c[_TASK_COLUMNS[node.field]], node.value)
    return found


def _compared(kind: Kind, column: ColumnElement[Any], node: Comparison) -> Clause:
    """The comparison; what is not there yet is 0, and matches none."""
    found: Clause = _COMPARE[node.op](column, node.value)
    return and_(column > literal_column("0"), found) if node.field in kind.unset else found
