"""A YAML or JSON document as a tree that knows how every value was written, and where.

A value that is meant as text stays what was written: `010`, `1:30` and `yes` do not turn into 8,
90 and true, as they would in YAML 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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


class SyntaxProblem(ValueError):
    """The document cannot be read any further."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line, self.column = line, column


class Finding(NamedTuple):
    """A mistake in the document's form that did not keep the rest from being read.

    Attributes:
        path: the value's or key's, such as `task_groups[0].role`.
        line: from 1.
        column: from 1.
        text: what is wrong.
        reason: a stable word.
    """

    path: str
    line: int
    column: int
    text: str
    reason: str


@dataclass(slots=True)
class Node:
    """One value.

    Attributes:
        value: None, a bool, int, float or str, a dict of nodes, or a list of nodes.
        text: of a value that is neither dict nor list: as it was written, without quotes.
        line: from 1.
        column: from 1, in characters.
        quoted: whether it stood in quotes, or was a block of text.
        keys: of a dict: its keys, as values of their own.
        size: how many values it is made of.
    """

    value: Any
    text: str = ""
    line: int = 1
    column: int = 1
    quoted: bool = False
    keys: dict[str, Node] = field(default_factory=dict)
    size: int = 1

    @property
    def items(self) -> Mapping[str, Node]:
        """The nodes of a dict; nothing for what is none."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def kind(self) -> str:
        """What it is, for an error message: a value itself, shortened."""
        names: dict[type, str] = {dict: "a mapping", list: "a list", type(None): "nothing"}
        shown = self.text if len(self.text) <= 40 else self.text[:40] + "…"
        return names.get(type(self.value), repr(shown))


class Document(NamedTuple):
    """What was read: the tree, and what is wrong with its form."""

    root: Node
    findings: list[Finding]


def resolved(text: str) -> Any:
    """What an unquoted scalar is in the core schema of YAML 1.2, without octal and hexadecimal."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def plain(node: Node) -> Any:
    """Returns a tree as ordinary dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(each) for key, each in node.value.items()}
    if isinstance(node.value, list):
        return [plain(each) for each in node.value]
    return node.value


def join(path: str, key: str) -> str:
    """The path of a key in what `path` leads to."""
    return f"{path}.{key}" if path else key
