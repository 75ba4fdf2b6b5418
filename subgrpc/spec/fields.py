"""Fills protobuf messages from a tree, field by field, and collects everything that is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from subgrpc.spec.durations import parse_duration
from subgrpc.spec.places import Problems, Spot, unknown
from subgrpc.spec.tree import plain
from subgrpc.v1.spec_pb2 import EnvVar

_MAX_DOUBLE_INT = 2**53
_DIGITS = re.compile(r"[0-9]{1,20}")


def fill(message: Message, spot: Spot, problems: Problems) -> None:
    """Sets the fields of a message from a mapping with their names as keys."""
    problems.places.enter(spot)
    if not is_mapping(spot, problems):
        return
    fields: list[FieldDescriptor] = [*message.DESCRIPTOR.fields]
    seen: dict[str, str] = {}
    for key in spot.node.items:
        field = find_field(fields, key)
        if field is None:
            text = unknown(key, [each.name for each in fields])
            problems.add_key(spot.child(key, f".{key}"), text, "UNKNOWN_FIELD")
        elif first_spelling(seen, field, key, spot, problems):
            set_field(message, field, spot.child(key, f".{field.name}"), problems)


def find_field(fields: Iterable[FieldDescriptor], key: str) -> FieldDescriptor | None:
    """The field with a name, or with that name in JSON's spelling."""
    return next((each for each in fields if key in (each.name, each.json_name)), None)


def first_spelling(
    seen: dict[str, str], field: FieldDescriptor, key: str, spot: Spot, problems: Problems
) -> bool:
    """Whether a field was not set in its other spelling already; else notes the mistake."""
    first = seen.setdefault(field.name, key)
    if first != key:
        text = f"is {first!r} in another spelling, which stands here too"
        problems.add_key(spot.child(key, f".{key}"), text, "DUPLICATE_KEY")
    return first == key


def is_mapping(spot: Spot, problems: Problems) -> bool:
    """Whether a value is a mapping; else notes the mistake."""
    if isinstance(spot.node.value, dict):
        return True
    problems.add(spot, f"must be a mapping of keys to values, not {spot.node.kind}")
    return False


def set_field(message: Message, field: FieldDescriptor, spot: Spot, problems: Problems) -> None:
    """Sets one field from a value; an empty value leaves it unset."""
    problems.places.enter(spot)
    if spot.node.value is None:
        return
    target = getattr(message, field.name)
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        _fill_map(target, kind.fields_by_name["value"], spot, problems)
    elif kind is EnvVar.DESCRIPTOR and isinstance(spot.node.value, dict):
        fill_env(target, spot, problems)
    elif _is_repeated(field):
        _fill_list(target, field, spot, problems)
    elif kind is not None:
        _fill_message(target, spot, problems)
    else:
        value = scalar(field, spot, problems)
        if value is not None:
            setattr(message, field.name, value)


def _is_repeated(field: FieldDescriptor) -> bool:
    # protobuf 6.31 brought `is_repeated`; the attribute before it is gone from the newest types.
    found = getattr(field, "is_repeated", None)
    if found is None:
        return bool(getattr(field, "label") == FieldDescriptor.LABEL_REPEATED)  # noqa: B009
    return bool(found)


def _fill_message(target: Any, spot: Spot, problems: Problems) -> None:
    if isinstance(target, Duration):
        _fill_duration(target, spot, problems)
    elif isinstance(target, Struct):
        _fill_struct(target, spot, problems)
    else:
        # Present even if nothing in it is set.
        target.SetInParent()
        fill(target, spot, problems)


def _fill_duration(target: Duration, spot: Spot, problems: Problems) -> None:
    if isinstance(spot.node.value, dict | list | bool):
        problems.add(spot, f'must be a span of time such as "5m", not {spot.node.kind}')
        return
    try:
        target.FromNanoseconds(parse_duration(spot.node.text))
    except ValueError as error:
        problems.add(spot, str(error))


def _fill_struct(target: Struct, spot: Spot, problems: Problems) -> None:
    if is_mapping(spot, problems) and _check_struct(spot, problems):
        target.update(plain(spot.node))


def _check_struct(spot: Spot, problems: Problems) -> bool:
    """Whether a Struct can hold a value unchanged; enters all that is in it."""
    problems.places.enter(spot)
    value = spot.node.value
    if isinstance(value, dict):
        children = [spot.child(key, f".{key}") for key in value]
        keys = [_text(each.at_key(), problems, each.at_key().node.text) for each in children]
        fine = [_check_struct(each, problems) for each in children]
        return None not in keys and all(fine)
    if isinstance(value, list):
        children = [spot.item(position, position) for position in range(len(value))]
        fine = [_check_struct(each, problems) for each in children]
        return all(fine)
    if isinstance(value, int) and abs(value) > _MAX_DOUBLE_INT:
        problems.add(spot, "is greater than 2^53 and would be rounded: put it in quotes")
        return False
    return not isinstance(value, str) or _text(spot, problems) is not None


def _fill_map(target: Any, value: FieldDescriptor, spot: Spot, problems: Problems) -> None:
    if not is_mapping(spot, problems):
        return
    for key in spot.node.items:
        child = spot.entry(key)
        problems.places.enter(child.at_key())
        if _text(child.at_key(), problems, key) is None:
            continue
        if value.message_type is not None:
            _fill_message(target[key], child, problems)
        else:
            found = scalar(value, child, problems)
            if found is not None:
                target[key] = found


def _fill_list(target: Any, field: FieldDescriptor, spot: Spot, problems: Problems) -> None:
    if not isinstance(spot.node.value, list):
        hint = "; for a line of shell use 'command'" if field.name == "args" else ""
        problems.add(spot, f"must be a list, not {spot.node.kind}{hint}")
        return
    for position in range(len(spot.node.value)):
        # What cannot be read is left out, so that the request counts otherwise than the file.
        child = spot.item(position, len(target))
        problems.places.enter(child)
        if field.message_type is not None:
            fill(target.add(), child, problems)
        else:
            found = scalar(field, child, problems)
            if found is not None:
                target.append(found)


def fill_env(target: Any, spot: Spot, problems: Problems, *, secrets: bool = True) -> None:
    """Environment variables as a mapping: a value each, or (with `secrets`) `{secret: NAME}`."""
    allowed = "a value or {secret: NAME}" if secrets else "a value"
    for name in spot.node.items:
        child = spot.child(name, f"[{len(target)}]")
        node = child.node
        problems.places.enter(child)
        problems.places.enter(child.at_key(".name"))
        problems.places.enter(child, f"{child.field}.value")
        if _text(child.at_key(), problems, name) is None:
            continue
        if secrets and set(node.items) == {"secret"}:
            secret = child.child("secret", ".secret")
            if secret.node.value is None:
                problems.add(secret, "names no secret")
            set_field(
                target.add(name=name), EnvVar.DESCRIPTOR.fields_by_name["secret"], secret, problems
            )
        elif isinstance(node.value, dict | list):
            problems.add(child, f"must be {allowed}, not {_keys(child)}")
        elif node.value is None:
            problems.add(child, 'has no value; write "" for an empty one')
        else:
            text = _text(child, problems)
            if text is not None:
                target.add(name=name, value=text)


def _keys(spot: Spot) -> str:
    """A collection, with its keys if it has some."""
    keys = [*spot.node.items]
    return f"{{{', '.join(keys[:5])}}}" if keys else spot.node.kind


def scalar(field: FieldDescriptor, spot: Spot, problems: Problems) -> Any:
    """The value of a scalar field, or None after a problem."""
    if isinstance(spot.node.value, dict | list) or spot.node.value is None:
        problems.add(spot, f"must be one value, not {spot.node.kind}")
        return None
    if field.enum_type is not None:
        return _word(field.enum_type, spot, problems)
    return _SCALARS[field.cpp_type](spot, problems)


def words_of(enum: EnumDescriptor) -> dict[str, int]:
    """What a spec writes for an enum's values: `always` for OUTPUT_WHEN_ALWAYS."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.name).upper()
    return {
        each.name.removeprefix(f"{name}_").lower(): each.number
        for each in enum.values
        if each.number
    }


def _word(enum: EnumDescriptor, spot: Spot, problems: Problems) -> int | None:
    words = words_of(enum)
    found = words.get(spot.node.text)
    if found is None:
        problems.add(spot, f"must be {' or '.join(words)}, not {spot.node.kind}")
    return found


def _flag(spot: Spot, problems: Problems) -> bool | None:
    value = {"true": True, "false": False}.get(spot.node.text, spot.node.value)
    if isinstance(value, bool):
        return value
    problems.add(spot, f"must be true or false, not {spot.node.kind}")
    return None


def _text(spot: Spot, problems: Problems, text: str | None = None) -> str | None:
    found = spot.node.text if text is None else text
    try:
        found.encode()
    except UnicodeEncodeError:
        problems.add(spot, "holds half of a surrogate pair, which is no character")
        return None
    return found


def _unsigned(limit: int) -> Callable[[Spot, Problems], int | None]:
    def read(spot: Spot, problems: Problems) -> int | None:
        # In quotes too, as in protobuf's JSON.
        text = spot.node.text
        if not _DIGITS.fullmatch(text) or int(text) > limit:
            allowed = f"a whole number from 0 to {limit}"
            problems.add(spot, f"must be {allowed}, not {spot.node.kind}")
            return None
        return int(text)

    return read


_SCALARS: dict[int, Callable[[Spot, Problems], Any]] = {
    FieldDescriptor.CPPTYPE_STRING: _text,
    FieldDescriptor.CPPTYPE_UINT32: _unsigned(2**32 - 1),
    FieldDescriptor.CPPTYPE_BOOL: _flag,
}
"""The kinds of scalar fields that a spec has."""
