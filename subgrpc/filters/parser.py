"""Reads filters: recursive descent without a separate lexer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn

from subgrpc.errors import FieldViolation, InvalidArgument
from subgrpc.filters.fields import FilterField, Kind
from subgrpc.filters.text import did_you_mean, parse_time, quote, shown, time_text
from subgrpc.filters.tree import (
    And,
    Comparison,
    Filter,
    Has,
    Node,
    Not,
    Or,
    Value,
    compile_tree,
)

MAX_DEPTH = 32
"""Parentheses within parentheses."""
MAX_TERMS = 100
"""Comparisons in one filter."""

_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[^\s()\"'=<>!:,]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?")
_OPERATOR = re.compile(r"!=|<=|>=|=|<|>|:")
_QUOTED = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'", re.DOTALL)
_BARE = re.compile(r"[^\s()\"'=<>!,]+")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_FLOAT = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_KEYED = (Kind.MAP, Kind.NUMBERS)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def parse_filter(text: str, fields: Mapping[str, FilterField]) -> Filter | None:
    """Reads a filter over the given fields; None: it is empty and everything matches.

    Raises:
        InvalidArgument: it cannot be read; the violation of field `filter` names the column, what
            stands there, and what may.
    """
    if not text.strip():
        return None
    root = _Parser(text, fields).parse()
    return Filter(root.text, root, compile_tree(root, fields))


class _Parser:
    """Recursive descent over the text; `at` is the position."""

    def __init__(self, text: str, fields: Mapping[str, FilterField]) -> None:
        self._text = text
        self._fields = fields
        self._at = 0
        self._terms = 0

    def parse(self) -> Node:
        found = self._and(0)
        self._skip()
        if self._at < len(self._text):
            self._expected("AND, OR or the end")
        return found

    def _and(self, depth: int) -> Node:
        parts = [self._or(depth)]
        while self._keyword("AND"):
            parts.append(self._or(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts), _joined(parts, " AND "))

    def _or(self, depth: int) -> Node:
        parts = [self._term(depth)]
        while self._keyword("OR"):
            parts.append(self._term(depth))
        return parts[0] if len(parts) == 1 else Or(tuple(parts), _joined(parts, " OR "))

    def _term(self, depth: int) -> Node:
        if self._keyword("NOT") or self._literal("-"):
            return _negated(self._simple(depth))
        return self._simple(depth)

    def _simple(self, depth: int) -> Node:
        start = self._skip()
        if not self._literal("("):
            return self._restriction()
        if depth >= MAX_DEPTH:
            self._fail(start, f"more than {MAX_DEPTH} parentheses within each other")
        inner = self._and(depth + 1)
        if not self._literal(")"):
            self._expected("AND, OR or )")
        return inner

    def _restriction(self) -> Node:
        start = self._skip()
        self._terms += 1
        if self._terms > MAX_TERMS:
            self._fail(start, f"more than {MAX_TERMS} comparisons")
        target = self._field()
        key = self._key(target) if target.kind in _KEYED else ""
        path = f"{target.name}.{_label_text(key)}" if key else target.name
        start = self._skip()
        found = self._take(_OPERATOR)
        if found is None:
            self._expected("one of = != < <= > >=" + (" :*" if key else ""))
        if found == ":":
            return self._has(target, key, path, start)
        if target.kind in (Kind.ENUM, Kind.SET) and found not in ("=", "!="):
            self._fail(start, f"{target.name} can be compared by = and != only")
        return self._comparison(target, key, path, found)

    def _has(self, target: FilterField, key: str, path: str, start: int) -> Node:
        if not key:
            keyed = [name for name, each in self._fields.items() if each.kind in _KEYED]
            only = f"for {' and '.join(keyed)} only, as in {keyed[0]}.KEY:*" if keyed else "unknown"
            self._fail(start, f"the operator : is {only}")
        if not self._literal("*"):
            self._expected("* after :")
        return Has(target.name, key, f"{path}:*")

    def _comparison(self, target: FilterField, key: str, path: str, op: str) -> Node:
        value, value_text = self._value(target)
        positive = "=" if op == "!=" else op
        text = f"{path} {positive} {value_text}"
        node = Comparison(target.name, key, positive, value, text)
        return _negated(node) if op == "!=" else node

    def _field(self) -> FilterField:
        start = self._at
        name = self._take(_NAME)
        if name is None:
            self._expected(f"a field ({', '.join(self._fields)}), NOT or (")
        if name not in self._fields:
            known = (*self._fields, "AND", "OR", "NOT")
            hint = did_you_mean(name, known)
            self._fail(start, f"no field {shown(name)}{hint}; one of {', '.join(self._fields)}")
        return self._fields[name]

    def _key(self, target: FilterField) -> str:
        name = target.name
        if self._text[self._at : self._at + 1] != ".":
            self._expected(f".KEY after {name}, such as {name}.team")
        self._at += 1
        start = self._at
        key = self._take(_LABEL_KEY) or self._quoted()
        if not key:
            self._fail(start, f'a key must follow, such as {name}.team or {name}."a:b"')
        return key

    def _value(self, target: FilterField) -> tuple[Value, str]:
        start = self._skip()
        word = self._quoted()
        if word is None:
            word = self._take(_BARE)
            if word is None or word in ("AND", "OR", "NOT"):
                self._at = start
                self._expected(f"the value of {target.name}: {target.kind.value}")
            if "*" in word:
                self._fail(start, 'there are no wildcards; quote a * that is meant, as in "a*"')
        return self._converted(target, word, start)

    def _converted(self, target: FilterField, word: str, start: int) -> tuple[Value, str]:
        if target.kind is Kind.ENUM:
            short = word.removeprefix(target.prefix)
            if short not in target.choices:
                hint = did_you_mean(word, target.choices)
                allowed = ", ".join(target.choices)
                self._fail(start, f"no {target.name} {shown(word)}{hint}; one of {allowed}")
            return target.choices[short], short
        if target.kind is Kind.TIME:
            time = parse_time(word)
            if time is None:
                self._fail(start, f"{shown(word)} is not {Kind.TIME.value}")
            return time, quote(time_text(time))
        if target.kind is Kind.NUMBER:
            if not re.fullmatch(r"-?[0-9]{1,18}", word):
                self._fail(start, f"{shown(word)} is not {Kind.NUMBER.value}")
            return int(word), str(int(word))
        if target.kind is Kind.NUMBERS:
            if _FLOAT.fullmatch(word) is None:
                self._fail(start, f"{shown(word)} is not a number such as 0.9 or 1e-5")
            return float(word), repr(float(word))
        if _CONTROL.search(word):
            self._fail(start, "there is a control character in the value")
        value = target.adapt(word)
        return value, quote(value)

    def _skip(self) -> int:
        """Skips white space; returns where it ends."""
        found = _SPACE.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return self._at

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        return found.group()

    def _quoted(self) -> str | None:
        start = self._at
        if self._text[start : start + 1] not in ('"', "'"):
            return None
        found = _QUOTED.match(self._text, start)
        if found is None:
            self._fail(start, "the string has no closing quote")
        self._at = found.end()
        return _ESCAPE.sub(r"\1", found.group(1) if found.group(1) is not None else found.group(2))

    def _literal(self, sign: str) -> bool:
        self._skip()
        if not self._text.startswith(sign, self._at):
            return False
        self._at += len(sign)
        return True

    def _keyword(self, keyword: str) -> bool:
        start = self._skip()
        if self._take(_WORD) == keyword:
            return True
        self._at = start
        return False

    def _expected(self, what: str) -> NoReturn:
        found = self._text[self._at :]
        word = _WORD.match(found)
        there = shown(word.group() if word else found[:1]) if found else "the end"
        hint = f" (did you mean {found[:3].upper().strip()}?)" if _is_lower_keyword(word) else ""
        self._fail(self._at, f"expected {what}, found {there}{hint}")

    def _fail(self, at: int, problem: str) -> NoReturn:
        text = f"column {at + 1}: {problem}"
        raise InvalidArgument(violations=[FieldViolation("filter", text, "INVALID_FILTER")])


def _is_lower_keyword(word: re.Match[str] | None) -> bool:
    return word is not None and word.group() in ("and", "or", "not")


def _negated(node: Node) -> Node:
    """Filters are two-valued: not not is nothing."""
    return node.of if isinstance(node, Not) else Not(node, f"NOT {node.text}")


def _joined(parts: list[Node], by: str) -> str:
    return f"({by.join(each.text for each in parts)})"


def _label_text(key: str) -> str:
    return key if _LABEL_KEY.fullmatch(key) else quote(key)
