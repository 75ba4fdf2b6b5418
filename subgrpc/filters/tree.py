"""The syntax tree of a filter, and the function that it is compiled to."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from subgrpc.filters.fields import FilterField, Kind

Value = str | int | float
Predicate = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`field op value`; `key` is that of MAP or NUMBERS. `op` is one of = < <= > >=."""

    field: str
    key: str
    op: str
    value: Value
    text: str = dataclasses.field(compare=False)


@dataclass(frozen=True, slots=True)
class Has:
    """`field.key:*`: the map has the key."""

    field: str
    key: str
    text: str = dataclasses.field(compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    """What does not match `of`."""

    of: Node
    text: str = dataclasses.field(compare=False)


@dataclass(frozen=True, slots=True)
class And:
    """What matches all of `of`."""

    of: tuple[Node, ...]
    text: str = dataclasses.field(compare=False)


@dataclass(frozen=True, slots=True)
class Or:
    """What matches any of `of`."""

    of: tuple[Node, ...]
    text: str = dataclasses.field(compare=False)


Node = Comparison | Has | Not | And | Or


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was read: immutable, and equal to any filter with the same meaning in words.

    Attributes:
        text: the canonical form, which is a filter again: what page and resume tokens are bound to.
        root: its syntax tree.
    """

    text: str
    root: Node = dataclasses.field(compare=False)
    _predicate: Predicate = dataclasses.field(compare=False, repr=False)

    def matches(self, message: Any) -> bool:
        """Whether a message (an Experiment, or a Task) passes."""
        return self._predicate(message)


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def compile_tree(node: Node, fields: Mapping[str, FilterField]) -> Predicate:
    """Makes a function of a tree, so that a watcher's every change costs no dispatch."""
    if isinstance(node, Not):
        inner = compile_tree(node.of, fields)
        return lambda message: not inner(message)
    if isinstance(node, And | Or):
        parts = [compile_tree(each, fields) for each in node.of]
        judge = all if isinstance(node, And) else any
        return lambda message: judge([part(message) for part in parts])
    read, key = fields[node.field].read, node.key
    if isinstance(node, Has):
        return lambda message: key in read(message)
    compare, value = _OPERATORS[node.op], node.value
    if fields[node.field].kind is Kind.SET:
        return lambda message: value in read(message)

    def judge_one(message: Any) -> bool:
        found = read(message)
        if key:
            found = found.get(key)
        return found is not None and compare(found, value)

    return judge_one
