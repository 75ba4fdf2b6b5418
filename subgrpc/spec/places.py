"""Mistakes, and which part of the file became which field of the request."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from subgrpc.errors import FieldViolation
from subgrpc.spec.tree import Finding, Node, join
from subgrpc.validation import subscript

MAX_PROBLEMS = 50
"""So many mistakes are reported at once."""
# What other platforms call it.
_SYNONYMS = {
    "cmd": "command",
    "entrypoint": "command",
    "run": "command",
    "gpu": "gpus",
    "mem": "memory",
    "ram": "memory",
    "cpus": "cpu",
    "instances": "replicas",
    "tasks": "task_groups",
    "roles": "task_groups",
    "retry": "retry_policy",
    "retries": "retry_policy",
    "environment": "env",
    "envvars": "env",
}
# How protobuf's Struct holds what a file has in `driver_options`.
_STRUCT_KEY = re.compile(r"(?:\.struct_value)?\.fields\[([^\]]*)\]")
_STRUCT_VALUE = re.compile(r"\.(?:list_value\.values|string_value|number_value)")


@dataclass(frozen=True, slots=True)
class Spot:
    """A value in the file, and the field of the request that it becomes.

    Attributes:
        node: the value.
        path: its path in the file; empty: the whole file.
        field: the field's path in CreateExperimentRequest.
        key: the key before it, as a value of its own.
    """

    node: Node
    path: str
    field: str
    key: Node | None = None

    def child(self, key: str, field: str) -> Spot:
        """The value of one key; `field`: what its field is called from here, with `.` or `[`."""
        path = join(self.path, key)
        return Spot(self.node.value[key], path, self.field + field, self.node.keys[key])

    def entry(self, key: str) -> Spot:
        """The value of one key of a map."""
        return self.child(key, subscript(key))

    def item(self, position: int, index: int) -> Spot:
        """An element of a list; `index`: where it stands in the request."""
        return Spot(self.node.value[position], f"{self.path}[{position}]", f"{self.field}[{index}]")

    def at_key(self, field: str = "") -> Spot:
        """The key itself, which becomes a field too, such as a variable's name."""
        return Spot(self.key or self.node, self.path, self.field + field)


class Places:
    """Knows where in the file each field of the request stands.

    Args:
        source: what the file is called in errors.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._spots: dict[str, Spot] = {}
        self._root: Node | None = None

    def enter(self, spot: Spot, field: str | None = None) -> None:
        """Remembers where a field stands."""
        self._spots[spot.field if field is None else field] = spot
        if not spot.path and not spot.field:
            self._root = spot.node

    def find(self, field: str) -> tuple[str, Node, bool]:
        """The path in the file, the closest value there is, and whether it is that of the field."""
        field = _STRUCT_VALUE.sub("", _STRUCT_KEY.sub(r".\1", field))
        ends = [end for end in range(len(field), -1, -1) if field[end : end + 1] in ("", ".", "[")]
        prefix = next((field[:end] for end in (*ends, 0) if field[:end] in self._spots), None)
        if prefix is None:
            return field, Node(None), False
        spot, rest = self._spots[prefix], field[len(prefix) :]
        path = spot.path + rest if spot.path else rest.removeprefix(".")
        return path, spot.node, not rest

    def located(self, violation: FieldViolation) -> FieldViolation:
        """A mistake in the request as one in the file."""
        path, node, _ = self.find(violation.field)
        # What only the whole file leads to does not stand in it: perhaps an option said it.
        known = node is not self._root
        place = self.place(node.line, node.column) if known else self._source
        return replace(violation, field=path, place=place)

    def place(self, line: int, column: int) -> str:
        """A place in the file as compilers write it."""
        return f"{self._source}:{line}:{column}"


class Problems:
    """What was found wrong so far.

    Attributes:
        places: where everything stands.
    """

    def __init__(self, source: str) -> None:
        self.places = Places(source)
        self._found: dict[tuple[int, int, str, str], FieldViolation] = {}
        self._paths: set[str] = set()
        self._parents: set[str] = set()

    def add(self, spot: Spot, text: str, reason: str = "INVALID_VALUE") -> None:
        """Notes a mistake in a value."""
        self._add(Finding(spot.path, spot.node.line, spot.node.column, text, reason))

    def add_key(self, spot: Spot, text: str, reason: str) -> None:
        """Notes a mistake in the key before a value."""
        self.add(spot.at_key(), text, reason)

    def add_finding(self, finding: Finding) -> None:
        """Notes a mistake in the document's form."""
        self._add(finding)

    def add_violation(self, violation: FieldViolation) -> None:
        """Notes a mistake in the request that was built, unless another mistake explains it."""
        path, node, exact = self.places.find(violation.field)
        if exact:
            explained = path in self._paths
        else:
            # Something is missing: perhaps it is what could not be read, or is called otherwise.
            parent = _parent(path)
            explained = parent in self._parents or parent in self._paths
        if not explained:
            # Not into `_paths`: several rules may be broken in one place.
            found = Finding(path, node.line, node.column, violation.description, violation.reason)
            self._note(found)

    @property
    def found(self) -> list[FieldViolation]:
        """Every mistake, in the order of the file."""
        return [self._found[each] for each in sorted(self._found)]

    def _add(self, finding: Finding) -> None:
        self._paths.add(finding.path)
        self._parents.add(_parent(finding.path))
        self._note(finding)

    def _note(self, finding: Finding) -> None:
        place = self.places.place(finding.line, finding.column)
        key = (finding.line, finding.column, finding.path, finding.text)
        self._found[key] = FieldViolation(finding.path, finding.text, finding.reason, place)


def _parent(path: str) -> str:
    return path[: max(path.rfind("."), path.rfind("["), 0)]


def unknown(key: str, known: Iterable[str]) -> str:
    """What to say of a key that does not exist."""
    names = sorted(known)
    lower = key.lower()
    synonym = _SYNONYMS.get(lower)
    by_lower = {each.lower(): each for each in reversed(names)}
    close = difflib.get_close_matches(lower, by_lower, 1, 0.6)
    meant = synonym if synonym in names else (by_lower[close[0]] if close else None)
    hint = f"did you mean {meant!r}? " if meant else ""
    return f"is no known key; {hint}known are {', '.join(names)}"
