"""Fills protobuf messages from a tree, field by field, and collects everything that is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from subgrpc.errors import FieldViolation
from subgrpc.spec.durations import parse_duration
from subgrpc.spec.tree import Node, plain
from subgrpc.v1.spec_pb2 import EnvVar

MAX_PROBLEMS = 50
_MAX_DOUBLE_INT = 2**53
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
}


class Problems:
    """What was found wrong so far."""

    def __init__(self) -> None:
        self.found: list[FieldViolation] = []

    def add(self, path: str, node: Node, text: str, reason: str = "INVALID_VALUE") -> None:
        """Notes one mistake."""
        if len(self.found) < MAX_PROBLEMS:
            self.found.append(FieldViolation(path, text + node.where, reason))


def fill(message: Message, node: Node, path: str, problems: Problems) -> None:
    """Sets the fields of a message from a mapping with their names as keys."""
    if not isinstance(node.value, dict):
        problems.add(path, node, f"must be a mapping of keys to values, not {_kind(node)}")
        return
    fields: list[FieldDescriptor] = [*message.DESCRIPTOR.fields]
    for key, child in node.value.items():
        field = find_field(fields, key)
        if field is None:
            problems.add(join(path, key), child, unknown(key, [each.name for each in fields]))
        else:
            set_field(message, field, child, join(path, key), problems)


def find_field(fields: Iterable[FieldDescriptor], key: str) -> FieldDescriptor | None:
    """The field with a name, or with that name in JSON's spelling."""
    return next((each for each in fields if key in (each.name, each.json_name)), None)


def unknown(key: str, known: Iterable[str]) -> str:
    """What to say of a key that does not exist."""
    names = sorted(known)
    synonym = _SYNONYMS.get(key.lower())
    close = difflib.get_close_matches(key.lower(), names, 1, 0.6)
    meant = synonym if synonym in names else (close[0] if close else None)
    hint = f"did you mean {meant!r}? " if meant else ""
    return f"is no known key; {hint}known are {', '.join(names)}"


def set_field(
    message: Message, field: FieldDescriptor, node: Node, path: str, problems: Problems
) -> None:
    """Sets one field from a value; an empty value leaves it unset."""
    if node.value is None and field.message_type is not EnvVar.DESCRIPTOR:
        return
    target = getattr(message, field.name)
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        _fill_map(target, kind.fields_by_name["value"], node, path, problems)
    elif kind is EnvVar.DESCRIPTOR and isinstance(node.value, dict):
        _fill_env(target, node.value, path, problems)
    elif _is_repeated(field):
        _fill_list(target, field, node, path, problems)
    elif kind is not None:
        _fill_message(target, node, path, problems)
    else:
        value = _scalar(field, node, path, problems)
        if value is not None:
            setattr(message, field.name, value)


def join(path: str, key: str) -> str:
    """The path of a key in what `path` leads to."""
    return f"{path}.{key}" if path else key


def _is_repeated(field: FieldDescriptor) -> bool:
    # protobuf 6.31 brought `is_repeated`; the attribute before it is gone from the newest types.
    found = getattr(field, "is_repeated", None)
    if found is None:
        return bool(getattr(field, "label") == FieldDescriptor.LABEL_REPEATED)  # noqa: B009
    return bool(found)


def _fill_message(target: Any, node: Node, path: str, problems: Problems) -> None:
    if isinstance(target, Duration):
        _fill_duration(target, node, path, problems)
    elif isinstance(target, Struct):
        _fill_struct(target, node, path, problems)
    else:
        # Present even if nothing in it is set.
        target.SetInParent()
        fill(target, node, path, problems)


def _fill_duration(target: Duration, node: Node, path: str, problems: Problems) -> None:
    if isinstance(node.value, dict | list | bool):
        problems.add(path, node, f'must be a span of time such as "5m", not {_kind(node)}')
        return
    try:
        target.FromNanoseconds(parse_duration(node.text))
    except ValueError as error:
        problems.add(path, node, str(error))


def _fill_struct(target: Struct, node: Node, path: str, problems: Problems) -> None:
    if not isinstance(node.value, dict):
        problems.add(path, node, f"must be a mapping of keys to values, not {_kind(node)}")
        return
    _check_numbers(node, path, problems)
    target.update(plain(node))


def _check_numbers(node: Node, path: str, problems: Problems) -> None:
    if isinstance(node.value, dict):
        for key, each in node.value.items():
            _check_numbers(each, join(path, key), problems)
    elif isinstance(node.value, list):
        for position, each in enumerate(node.value):
            _check_numbers(each, f"{path}[{position}]", problems)
    elif isinstance(node.value, int) and abs(node.value) > _MAX_DOUBLE_INT:
        problems.add(path, node, "is greater than 2^53 and would be rounded: put it in quotes")


def _fill_map(
    target: Any, value: FieldDescriptor, node: Node, path: str, problems: Problems
) -> None:
    if not isinstance(node.value, dict):
        problems.add(path, node, f"must be a mapping of keys to values, not {_kind(node)}")
        return
    for key, child in node.value.items():
        if value.message_type is not None:
            _fill_message(target[key], child, join(path, key), problems)
        else:
            found = _scalar(value, child, join(path, key), problems)
            if found is not None:
                target[key] = found


def _fill_list(
    target: Any, field: FieldDescriptor, node: Node, path: str, problems: Problems
) -> None:
    if not isinstance(node.value, list):
        hint = "; for a line of shell use 'command'" if field.name == "args" else ""
        problems.add(path, node, f"must be a list, not {_kind(node)}{hint}")
        return
    for position, child in enumerate(node.value):
        place = f"{path}[{position}]"
        if field.message_type is not None:
            fill(target.add(), child, place, problems)
        else:
            found = _scalar(field, child, place, problems)
            if found is not None:
                target.append(found)


def _fill_env(target: Any, values: Mapping[str, Node], path: str, problems: Problems) -> None:
    """Environment variables as a mapping: a value each, or `{secret: NAME}`."""
    for name, node in values.items():
        place = join(path, name)
        variable = target.add(name=name)
        if isinstance(node.value, dict) and set(node.value) == {"secret"}:
            secret = node.value["secret"]
            set_field(variable, EnvVar.DESCRIPTOR.fields_by_name["secret"], secret, place, problems)
        elif isinstance(node.value, dict | list):
            problems.add(place, node, "must be a value or {secret: NAME}")
        elif node.value is None:
            problems.add(place, node, 'has no value; write "" for an empty one')
        else:
            variable.value = node.text


def _scalar(field: FieldDescriptor, node: Node, path: str, problems: Problems) -> Any:
    """The value of a scalar field, or None after a problem."""
    if isinstance(node.value, dict | list) or node.value is None:
        problems.add(path, node, f"must be one value, not {_kind(node)}")
        return None
    return _SCALARS[field.cpp_type](node, path, problems)


def _text(node: Node, path: str, problems: Problems) -> str | None:
    try:
        node.text.encode()
    except UnicodeEncodeError:
        problems.add(path, node, "holds half of a surrogate pair, which is no character")
        return None
    return node.text


def _unsigned(limit: int) -> Callable[[Node, str, Problems], int | None]:
    def read(node: Node, path: str, problems: Problems) -> int | None:
        whole = isinstance(node.value, int) and not isinstance(node.value, bool)
        if not whole or not 0 <= node.value <= limit:
            problems.add(path, node, f"must be a whole number from 0 on, not {node.text[:40]!r}")
            return None
        return int(node.value)

    return read


_SCALARS: dict[int, Callable[[Node, str, Problems], Any]] = {
    FieldDescriptor.CPPTYPE_STRING: _text,
    FieldDescriptor.CPPTYPE_UINT32: _unsigned(2**32 - 1),
}
"""The kinds of scalar fields that a spec has."""


def _kind(node: Node) -> str:
    names: dict[type, str] = {dict: "a mapping", list: "a list", type(None): "nothing"}
    return names.get(type(node.value), f"{node.text[:40]!r}")
