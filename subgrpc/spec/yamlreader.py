"""Reads YAML into a tree: no tags, no merge keys, no second document, nothing that explodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

try:
    import yaml
except ModuleNotFoundError as error:
    text = "reading YAML needs PyYAML: pip install 'subgrpc[cli]'; JSON and mappings need nothing"
    raise ModuleNotFoundError(text, name=error.name) from error

from subgrpc.spec.tree import (
    MAX_DEPTH,
    MAX_VALUES,
    Document,
    Finding,
    Node,
    SyntaxProblem,
    join,
    resolved,
)

_STANDARD_TAG = "tag:yaml.org,2002:"
_NO_START = "@`%&*!|>"
"""Characters with a meaning of their own, with which unquoted text cannot start."""


def read_yaml(text: str) -> Document:
    """Reads one document.

    Raises:
        SyntaxProblem: it is not YAML, more than one document, too deep or too large.
    """
    # Events, not nodes: libyaml's own composer overflows the stack on deep nesting.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise SyntaxProblem(_explained(error, text, line, column), line, column) from error
    except yaml.reader.ReaderError as error:
        # PyYAML's own reader gives a character, libyaml's a number.
        code = error.character if isinstance(error.character, int) else ord(error.character)
        at = next((n for n, each in enumerate(text) if ord(each) == code), 0)
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        shown = f"the character U+{code:04X} is not allowed"
        raise SyntaxProblem(shown, line, column) from error
    return Document(builder.root or Node(None), builder.findings)


def _explained(error: yaml.MarkedYAMLError, text: str, line: int, column: int) -> str:
    """The parser's words, or better ones for what people run into."""
    lines = text.split("\n")
    row = lines[line - 1] if line <= len(lines) else ""
    rest = row[column - 1 :]
    before = row[: column - 1]
    problem = error.problem or "is not YAML"
    if rest.startswith("\t") or (not before.strip() and "\t" in before):
        return "a tab: YAML is indented with spaces only"
    if "mapping values are not allowed" in problem:
        return "a second ': ' in this line: put text that contains ': ' in quotes"
    if "cannot start any token" in problem:
        return f"a value cannot start with {rest[:1]!r}: put it in quotes"
    if rest[:1] and rest[0] in _NO_START and "expected" in problem and "expected <" not in problem:
        return f"{problem}: put text that starts with {rest[0]!r} in quotes"
    context = f", {error.context}" if error.context else ""
    mark = error.context_mark
    since = f" that starts at line {mark.line + 1}" if context and mark else ""
    return f"{problem}{context}{since}"


@dataclass(slots=True)
class _Open:
    """A collection that is not closed yet.

    Attributes:
        node: the collection.
        anchor: its anchor.
        path: its path.
        key: of a mapping: the key that waits for its value.
        again: that key stood there before.
    """

    node: Node
    anchor: str | None
    path: str
    key: str | None = None
    again: bool = False


class _Builder:
    """Builds the tree from YAML's events."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.findings: list[Finding] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            _fail(event, "a second document starts here: one file holds one experiment")
        elif isinstance(event, yaml.ScalarEvent):
            self._check_tag(event)
            self._place(event, _scalar(event), event.anchor)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._check_tag(event)
            if len(self._open) >= MAX_DEPTH:
                _fail(event, f"values are nested deeper than {MAX_DEPTH} levels")
            empty: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._open.append(_Open(_at(event, empty), event.anchor, self._path()))
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = self._open.pop()
            self._place(event, closed.node, closed.anchor)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                _fail(event, f"no anchor &{event.anchor} ends before this alias")
            self._place(event, self._anchors[event.anchor], None)

    def _path(self) -> str:
        """The path of the value that comes next."""
        if not self._open:
            return ""
        parent = self._open[-1]
        if isinstance(parent.node.value, list):
            return f"{parent.path}[{len(parent.node.value)}]"
        return parent.path if parent.key is None else join(parent.path, parent.key)

    def _place(self, event: Any, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        if isinstance(parent.node.value, list):
            parent.node.value.append(node)
        elif parent.key is None:
            self._key(event, node, parent)
            return
        else:
            if not parent.again:
                parent.node.value[parent.key] = node
            parent.key = None
        parent.node.size += node.size
        if parent.node.size > MAX_VALUES:
            _fail(event, f"more than {MAX_VALUES} values, aliases included")

    def _key(self, event: Any, node: Node, parent: _Open) -> None:
        if isinstance(node.value, dict | list):
            _fail(event, "a key must be a plain word")
        key = node.text
        first = parent.node.keys.get(key)
        parent.key, parent.again = key, first is not None
        if first is not None:
            text = f"the key {key!r} stands here twice; the first is in line {first.line}"
            self._find(event, join(parent.path, key), text, "DUPLICATE_KEY")
        elif key == "<<" and not node.quoted:
            text = "merge keys (<<) are not supported; an alias (*name) as a value is"
            self._find(event, join(parent.path, key), text, "UNSUPPORTED")
            parent.again = True
        else:
            parent.node.keys[key] = node

    def _check_tag(self, event: Any) -> None:
        tag: str | None = event.tag
        if tag not in (None, "!") and tag != f"{_STANDARD_TAG}str":
            shown = tag.replace(_STANDARD_TAG, "!!")
            self._find(
                event, self._path(), f"tags such as {shown!r} are not supported", "UNSUPPORTED"
            )

    def _find(self, event: Any, path: str, text: str, reason: str) -> None:
        mark = event.start_mark
        self.findings.append(Finding(path, mark.line + 1, mark.column + 1, text, reason))


def _scalar(event: Any) -> Node:
    text: str = event.value
    quoted = bool(event.style) or event.tag is not None
    node = _at(event, text if quoted else resolved(text), text)
    node.quoted = quoted
    return node


def _at(event: Any, value: Any, text: str = "") -> Node:
    return Node(value, text, event.start_mark.line + 1, event.start_mark.column + 1)


def _fail(event: Any, message: str) -> NoReturn:
    raise SyntaxProblem(message, event.start_mark.line + 1, event.start_mark.column + 1)
