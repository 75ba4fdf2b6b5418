"""Reads JSON into a tree. Python's own reader would forget where every value stood."""

from __future__ import annotations

import bisect
import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]  # typeshed lacks it
from typing import NoReturn

from subgrpc.spec.tree import MAX_DEPTH, MAX_VALUES, Document, Finding, Node, SyntaxProblem, join

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORD = re.compile(r"[-+A-Za-z0-9_.]*")
_CONSTANTS = {"null": None, "true": True, "false": False}


def read_json(text: str) -> Document:
    """Reads one document.

    Raises:
        SyntaxProblem: it is not JSON, too deep or too large.
    """
    reader = _Reader(text)
    root, end = reader.value(reader.space(0), "", 0)
    end = reader.space(end)
    if end < len(text):
        reader.fail("something stands behind the end of the document", end)
    return Document(root, reader.findings)


class _Reader:
    """Reads values from positions in a text; each method returns where it stopped."""

    def __init__(self, text: str) -> None:
        self.findings: list[Finding] = []
        self._text = text
        self._count = 0
        self._starts = [0, *(each.end() for each in re.finditer("\n", text))]

    def place(self, at: int) -> tuple[int, int]:
        """Line and column, from 1."""
        line = bisect.bisect_right(self._starts, at)
        return line, at - self._starts[line - 1] + 1

    def fail(self, message: str, at: int) -> NoReturn:
        """Gives up at a position."""
        raise SyntaxProblem(message, *self.place(at))

    def space(self, at: int) -> int:
        """The position behind white space."""
        found = _SPACE.match(self._text, at)
        return found.end() if found else at

    def value(self, at: int, path: str, depth: int) -> tuple[Node, int]:
        """Reads any value."""
        self._count += 1
        if self._count > MAX_VALUES:
            self.fail(f"more than {MAX_VALUES} values", at)
        if depth > MAX_DEPTH:
            self.fail(f"values are nested deeper than {MAX_DEPTH} levels", at)
        start = self._text[at : at + 1]
        if start == "{":
            return self._object(at, path, depth)
        if start == "[":
            return self._array(at, path, depth)
        return self._string(at) if start == '"' else self._word(at)

    def _object(self, at: int, path: str, depth: int) -> tuple[Node, int]:
        node = Node({}, "", *self.place(at))
        at = self.space(at + 1)
        if self._text[at : at + 1] == "}":
            return node, at + 1
        while True:
            if self._text[at : at + 1] != '"':
                self.fail("a key in double quotes is expected", at)
            name, end = self._string(at)
            key = name.text
            colon = self.space(end)
            if self._text[colon : colon + 1] != ":":
                self.fail("':' is expected", colon)
            child, end = self.value(self.space(colon + 1), join(path, key), depth + 1)
            if key in node.keys:
                first = node.keys[key].line
                text = f"the key {key!r} stands here twice; the first is in line {first}"
                found = Finding(join(path, key), *self.place(at), text, "DUPLICATE_KEY")
                self.findings.append(found)
            else:
                node.value[key], node.keys[key] = child, name
            node.size += child.size
            at, more = self._next(end, "}")
            if not more:
                return node, at

    def _array(self, at: int, path: str, depth: int) -> tuple[Node, int]:
        node = Node([], "", *self.place(at))
        at = self.space(at + 1)
        if self._text[at : at + 1] == "]":
            return node, at + 1
        while True:
            child, end = self.value(at, f"{path}[{len(node.value)}]", depth + 1)
            node.value.append(child)
            node.size += child.size
            at, more = self._next(end, "]")
            if not more:
                return node, at

    def _next(self, at: int, close: str) -> tuple[int, bool]:
        """Where the next element starts, or where the collection has ended."""
        at = self.space(at)
        found = self._text[at : at + 1]
        if found == close:
            return at + 1, False
        if found != ",":
            self.fail(f"',' or {close!r} is expected", at)
        behind = self.space(at + 1)
        if self._text[behind : behind + 1] == close:
            self.fail(f"a comma before {close!r} is not allowed", at)
        return behind, True

    def _string(self, at: int) -> tuple[Node, int]:
        try:
            text, end = scanstring(self._text, at + 1, True)
        except json.JSONDecodeError as error:
            self.fail(error.msg.removesuffix(" at").lower(), error.pos)
        return Node(text, text, *self.place(at), quoted=True), end

    def _word(self, at: int) -> tuple[Node, int]:
        found = _WORD.match(self._text, at)
        word = found[0] if found else ""
        number = _NUMBER.fullmatch(word)
        if word not in _CONSTANTS and not number:
            if not word:
                self.fail("a value is expected", at)
            self.fail(f"{word[:40]} is not JSON: put text in double quotes", at)
        value: object = _CONSTANTS.get(word)
        if number:
            # Nothing of ours takes so long a number; Python refuses to convert the longest.
            value = float(word) if number[1] or number[2] else int(word[:30])
        return Node(value, word, *self.place(at)), at + len(word)
