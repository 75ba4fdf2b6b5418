"""The SQL of a filter's conditions: two-valued like `Filter.matches`, since no column is NULL."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Integer, and_, exists, literal_column, not_, or_

from subgrpc.filters import And, Comparison, Has, Node, Not, Or
from subgrpc.metastore.tables import table

Clause = ColumnElement[bool]
Leaf = Comparison | Has

_experiment, _label, _task = table("experiment"), table("label"), table("task")
_TASK_COLUMNS = {"state": "state", "role": "role", "index": "number", "reason": "reason"}
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def judged(node: Node) -> Clause:
    """A condition on experiments in a form that no index serves: it is judged row by row.

    Otherwise a planner could leave the order of the list to follow the condition's index, and
    sort all that it finds.
    """
    return _translated(node, _judged_leaf)


def served(node: Comparison, column: ColumnElement[Any] | None = None) -> Clause:
    """A comparison of an experiment's column (or `column` in its place) that an index serves."""
    return _compared(_experiment.c[node.field] if column is None else column, node)


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


def _judged_leaf(node: Leaf) -> Clause:
    if isinstance(node, Has) or node.key:
        return _has_label(node)
    column = _experiment.c[node.field]
    if isinstance(column.type, Integer):
        return _compared(column + literal_column("0"), node)
    return _compared(column.concat(literal_column("''")), node)


def _has_label(node: Leaf) -> Clause:
    it = _label.c
    conditions = [it.experiment_uid == _experiment.c.uid, it.key == node.key]
    if isinstance(node, Comparison):
        conditions.append(_compared(it.value, node))
    return exists(literal_column("1")).where(*conditions).correlate(_experiment)


def _task_leaf(node: Leaf) -> Clause:
    assert isinstance(node, Comparison), "tasks have no labels"
    return _compared(_task.c[_TASK_COLUMNS[node.field]], node)


def _compared(column: ColumnElement[Any], node: Comparison) -> Clause:
    """The comparison; an end_time that is not there yet is 0, and matches none."""
    found: Clause = _COMPARE[node.op](column, node.value)
    return and_(column > literal_column("0"), found) if node.field == "end_time" else found
