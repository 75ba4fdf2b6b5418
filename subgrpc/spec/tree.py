"""YAML and JSON as a tree that knows how every value was written, and where.

A value that is meant as text stays what was written: `010`, `1:30` and `yes` do not turn into 8,
90 and true, as they would in YAML 1.1.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

MAX_DEPTH = 32
MAX_VALUES = 100_000
"""Values in a document, those that aliases repeat included."""
_INT = re.compile(r"[-+]?[0-9]{1,25}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_STANDARD_TAG = "tag:yaml.org,2002:"


class SyntaxProblem(ValueError):
    """The document cannot be read."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line, self.column = line, column


@dataclass(slots=True)
class Node:
    """One value.

    Attributes:
        value: None, a bool, int, float or str, a dict of nodes, or a list of nodes.
        text: of a value that is neither dict nor list: as it was written, without quotes.
        line: from 1; 0: not known.
        column: from 1; 0: not known.
        size: how many values it is made of.
    """

    value: Any
    text: str = ""
    line: int = 0
    column: int = 0
    size: int = 1

    @property
    def where(self) -> str:
        """The place, in parentheses after a space; nothing where it is not known."""
        return f" (line {self.line}, column {self.column})" if self.line else ""


def parse(text: str, *, is_json: bool) -> Node:
    """Reads one document.

    Raises:
        SyntaxProblem: it is not YAML (JSON), more than one document, too deep or too large, has a
            key twice, or uses tags.
    """
    return _parse_json(text) if is_json else _parse_yaml(text)


def plain(node: Node) -> Any:
    """Returns a tree as ordinary dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(each) for key, each in node.value.items()}
    if isinstance(node.value, list):
        return [plain(each) for each in node.value]
    return node.value


def _parse_yaml(text: str) -> Node:
    # Events, not nodes: libyaml's own composer overflows the stack on deep nesting.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise SyntaxProblem(error.problem or "is not YAML", line, column) from error
    except yaml.reader.ReaderError as error:
        # PyYAML's own reader gives a character, libyaml's a number.
        code = error.character if isinstance(error.character, int) else ord(error.character)
        shown = f"the character U+{code:04X} is not allowed"
        line = text.count("\n", 0, error.position) + 1
        raise SyntaxProblem(shown, line, 0) from error
    return builder.root or Node(None, line=1, column=1)


class _Builder:
    """Builds the tree from YAML's events."""

    def __init__(self) -> None:
        self.root: Node | None = None
        # Open collections, with the key that waits for its value.
        self._open: list[tuple[Node, str | None, str | None]] = []
        self._anchors: dict[str, Node] = {}

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            _fail(event, "a second document starts here: one file holds one experiment")
        elif isinstance(event, yaml.ScalarEvent):
            _check_tag(event)
            self._place(event, _scalar(event), event.anchor)
        elif isinstance(event, yaml.CollectionStartEvent):
            _check_tag(event)
            if len(self._open) >= MAX_DEPTH:
                _fail(event, f"values are nested deeper than {MAX_DEPTH} levels")
            empty: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._open.append((_at(event, empty), None, event.anchor))
        elif isinstance(event, yaml.CollectionEndEvent):
            node, _, anchor = self._open.pop()
            self._place(event, node, anchor)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                _fail(event, f"no anchor &{event.anchor} ends before this alias")
            self._place(event, self._anchors[event.anchor], None)

    def _place(self, event: Any, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            self.root = node
            return
        parent, key, parent_anchor = self._open[-1]
        if isinstance(parent.value, list):
            parent.value.append(node)
        elif key is None:
            self._open[-1] = (parent, _key(event, node, parent), parent_anchor)
            return
        else:
            parent.value[key] = node
            self._open[-1] = (parent, None, parent_anchor)
        parent.size += node.size
        if parent.size > MAX_VALUES:
            _fail(event, f"more than {MAX_VALUES} values")


def _key(event: Any, node: Node, parent: Node) -> str:
    if isinstance(node.value, dict | list):
        _fail(event, "a key must be a plain word")
    if node.text == "<<":
        _fail(event, "merge keys (<<) are not supported; an alias (*name) as a value is")
    if node.text in parent.value:
        _fail(event, f"the key {node.text!r} stands here twice")
    return node.text


def _scalar(event: Any) -> Node:
    text: str = event.value
    return _at(event, text if event.style else _resolved(text), text)


def _resolved(text: str) -> Any:
    """What an unquoted scalar is in the core schema of YAML 1.2, without octal and hexadecimal."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _check_tag(event: Any) -> None:
    tag: str | None = event.tag
    if tag not in (None, "!") and tag != f"{_STANDARD_TAG}str":
        _fail(event, f"tags such as {tag.removeprefix(_STANDARD_TAG)!r} are not supported")


def _at(event: Any, value: Any, text: str = "") -> Node:
    return Node(value, text, event.start_mark.line + 1, event.start_mark.column + 1)


def _fail(event: Any, message: str) -> NoReturn:
    raise SyntaxProblem(message, event.start_mark.line + 1, event.start_mark.column + 1)


def _parse_json(text: str) -> Node:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n]))
            raise SyntaxProblem(f"the key {twice!r} stands twice in one object", 0, 0)
        return found

    try:
        raw = json.loads(
            text,
            object_pairs_hook=unique,
            parse_int=lambda digits: Node(int(digits[:30]), digits),
            parse_float=lambda digits: Node(float(digits), digits),
            parse_constant=_no_constant,
        )
        return _from_json(raw, 0)
    except json.JSONDecodeError as error:
        raise SyntaxProblem(error.msg, error.lineno, error.colno) from error
    except RecursionError as error:
        text = f"values are nested deeper than {MAX_DEPTH} levels"
        raise SyntaxProblem(text, 0, 0) from error


def _no_constant(name: str) -> NoReturn:
    raise SyntaxProblem(f"{name} is not JSON", 0, 0)


def _from_json(raw: Any, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise SyntaxProblem(f"values are nested deeper than {MAX_DEPTH} levels", 0, 0)
    if isinstance(raw, Node):
        return raw
    if isinstance(raw, dict):
        return Node({key: _from_json(each, depth + 1) for key, each in raw.items()})
    if isinstance(raw, list):
        return Node([_from_json(each, depth + 1) for each in raw])
    return Node(raw, raw if isinstance(raw, str) else json.dumps(raw))
