"""Checks messages against the rules beside their fields (`subgrpc.options.v1.rules`).

The rules of a message type are compiled once, into one closure for each field. Checking a valid
message then visits only the fields that are set, and builds no paths: those are put together on
the way back from a mistake.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from subgrpc import names, quantities
from subgrpc.errors import FieldViolation, InvalidArgument
from subgrpc.options.v1 import rules_pb2
from subgrpc.options.v1.rules_pb2 import Quantity, Rules

MAX_VIOLATIONS: Final = 50
"""So many mistakes are reported at once; the error says if there are more."""

Check = Callable[[Any], Sequence[FieldViolation]]
"""Checks one value; the paths of what it returns start at that value ("": the value itself)."""

_FINE: Final[Sequence[FieldViolation]] = ()
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_MULTILINE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]")
_NUL: Final = re.compile("\x00")
_DURATION_LIMIT: Final = 315_576_000_000
"""Seconds: the greatest Duration that protobuf allows."""
_QUANTITIES: Final[Mapping[int, Callable[[str], int]]] = {
    Quantity.QUANTITY_CPU: quantities.parse_cpu,
    Quantity.QUANTITY_BYTES: quantities.parse_bytes,
}
_NO_RULES: Final = Rules()
_VERBATIM: Final = Rules(verbatim=True)


def validate(message: Message) -> None:
    """Checks a request.

    In a request with an `update_mask` no field of the resource is required: what is not in the
    mask is not read.

    Raises:
        InvalidArgument: with every violation, up to `MAX_VIOLATIONS`.
    """
    found = _checker(message.DESCRIPTOR, partial=False)(message)
    if found:
        raise_violations(found)


def raise_violations(found: Sequence[FieldViolation]) -> None:
    """Raises InvalidArgument for these violations, if there are any."""
    if not found:
        return
    metadata = {}
    if len(found) > MAX_VIOLATIONS:
        metadata["omittedViolations"] = str(len(found) - MAX_VIOLATIONS)
    raise InvalidArgument(violations=found[:MAX_VIOLATIONS], metadata=metadata)


def under(prefix: str, found: Iterable[FieldViolation]) -> list[FieldViolation]:
    """The same violations with paths that start further up, at `prefix`."""
    return [replace(each, field=_joined(prefix, each.field)) for each in found]


def shown(text: str, limit: int = 60) -> str:
    """A value of a client as an error message may show it: quoted, escaped and short."""
    return repr(text if len(text) <= limit else text[:limit] + "…")


def _joined(prefix: str, path: str) -> str:
    return f"{prefix}{path}" if not path or path.startswith("[") else f"{prefix}.{path}"


def _bad(description: str, reason: str) -> list[FieldViolation]:
    return [FieldViolation("", description, reason)]


@cache
def _checker(descriptor: Descriptor, partial: bool) -> Check:
    """Compiles the check of a message type; `partial`: nothing in it is required."""
    partial_below = "update_mask" in descriptor.fields_by_name
    required = (
        {} if partial else {f.number: f.name for f in descriptor.fields if _rules(f).required}
    )
    checks: dict[FieldDescriptor, Check] = {}

    def compile_field(field: FieldDescriptor) -> Check:
        # Compiled when first met: message types may hold themselves, as Struct does.
        check = checks[field] = _field_check(field, partial_below)
        return check

    def check(message: Any) -> Sequence[FieldViolation]:
        found: Sequence[FieldViolation] = _FINE
        given = 0
        # Only fields that are set: a required one that does not come by is missing.
        for field, value in message.ListFields():
            if required and field.number in required:
                given += 1
            wrong = (checks.get(field) or compile_field(field))(value)
            if wrong:
                found = [*found, *under(field.name, wrong)]
        if given == len(required):
            return found
        return [*_missing(message, required), *found]

    return check


def _rules(field: FieldDescriptor) -> Rules:
    options = field.GetOptions()
    if options.HasExtension(rules_pb2.rules):
        return options.Extensions[rules_pb2.rules]
    return _default_rules(field)


def _default_rules(field: FieldDescriptor) -> Rules:
    # Text inside of protobuf's own types, such as Struct, belongs to whoever defined it.
    owner = field.containing_type
    foreign = owner is not None and owner.file.package == "google.protobuf"
    return _VERBATIM if foreign else _NO_RULES


def _missing(message: Any, required: Mapping[int, str]) -> list[FieldViolation]:
    given = {field.number for field, _ in message.ListFields()}
    return [
        FieldViolation(name, "must be set", "REQUIRED")
        for number, name in required.items()
        if number not in given
    ]


def _field_check(field: FieldDescriptor, partial: bool) -> Check:
    rules = _rules(field)
    if rules.output_only:
        return _nothing
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _map_check(field.message_type, rules)
    if _is_repeated(field):
        return _list_check(field, rules)
    return _value_check(field, rules, partial)


def _is_repeated(field: FieldDescriptor) -> bool:
    # Younger protobufs warn of `label`, older ones have nothing else.
    flag: bool | None = getattr(field, "is_repeated", None)
    return getattr(field, "label", 0) == FieldDescriptor.LABEL_REPEATED if flag is None else flag


def _nothing(_: Any) -> Sequence[FieldViolation]:
    return _FINE


def _value_check(field: FieldDescriptor, rules: Rules, partial: bool = False) -> Check:
    """The check of one value: a singular field, an element, a key."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return _string_check(rules)
    if field.message_type is not None:
        return _message_check(field.message_type, rules, partial)
    if field.enum_type is not None:
        return _enum_check(field.enum_type)
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return _finite
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _size_check(rules.max_bytes, len) if rules.max_bytes else _nothing
    return _number_check(rules)


def _string_check(rules: Rules) -> Check:
    control = _NUL if rules.verbatim else _CONTROL_MULTILINE if rules.multiline else _CONTROL
    find_control, max_len = control.search, rules.max_len
    most = max_len or math.inf
    matches = re.compile(rules.pattern).fullmatch if rules.pattern else None
    help_text = rules.pattern_help or f"text that matches {rules.pattern}"
    parse = _QUANTITIES.get(rules.quantity)
    forms = rules.resource_name.split("|") if rules.resource_name else []
    plain = matches is None and not forms and parse is None

    def check(value: str) -> Sequence[FieldViolation]:
        # What is printable holds no control characters, and that is found out several times faster.
        if not value or (plain and value.isprintable() and len(value) <= most):
            return _FINE
        if len(value) > most:
            return _bad(f"has {len(value)} characters; at most {max_len} are allowed", "TOO_LONG")
        if not value.isprintable() and (at := find_control(value)) is not None:
            text = f"holds the control character U+{ord(at[0]):04X} at position {at.start()}"
            return _bad(text, "CONTROL_CHARACTER")
        if matches is not None and not matches(value):
            return _bad(f"{shown(value)} is not allowed; use {help_text}", "PATTERN")
        if forms and all(names.match(value, form) is None for form in forms):
            text = f"{shown(value)} is not a resource name of the form {' or '.join(forms)}"
            return _bad(text, "RESOURCE_NAME")
        if parse is not None:
            try:
                parse(value)
            except ValueError as error:
                return _bad(str(error), "QUANTITY")
        return _FINE

    return check


def _number_check(rules: Rules) -> Check:
    low = rules.min if rules.HasField("min") else None
    high = rules.max if rules.HasField("max") else None
    if low is None and high is None:
        return _nothing
    allowed = _allowed(low, high)

    def check(value: int) -> Sequence[FieldViolation]:
        if (low is not None and value < low) or (high is not None and value > high):
            return _bad(f"is {value}; allowed is {allowed}", "OUT_OF_RANGE")
        return _FINE

    return check


def _finite(value: float) -> Sequence[FieldViolation]:
    return _FINE if math.isfinite(value) else _bad(f"is {value}, no finite number", "NOT_FINITE")


def _enum_check(enum: EnumDescriptor) -> Check:
    known = enum.values_by_number

    def check(value: int) -> Sequence[FieldViolation]:
        if value in known:
            return _FINE
        text = f"is {value}, which {enum.name} does not have"
        return _bad(text, "UNKNOWN_VALUE")

    return check


def _message_check(descriptor: Descriptor, rules: Rules, partial: bool) -> Check:
    if descriptor is Duration.DESCRIPTOR:
        return _duration_check(rules)
    fields = _checker(descriptor, partial)
    if not rules.max_bytes:
        return fields
    size = _size_check(rules.max_bytes, lambda message: message.ByteSize())
    # What is too large is not looked into: the answer would be large as well.
    return lambda message: size(message) or fields(message)


def _size_check(limit: int, size_of: Callable[[Any], int]) -> Check:
    def check(value: Any) -> Sequence[FieldViolation]:
        size = size_of(value)
        if size <= limit:
            return _FINE
        return _bad(f"has {size} bytes; at most {limit} are allowed", "TOO_LARGE")

    return check


def _duration_check(rules: Rules) -> Check:
    low = rules.min_seconds if rules.HasField("min_seconds") else None
    high = rules.max_seconds if rules.HasField("max_seconds") else None
    allowed = _allowed(low, high, " s")

    def check(value: Duration) -> Sequence[FieldViolation]:
        seconds, nanos = value.seconds, value.nanos
        if abs(nanos) > 999_999_999 or seconds * nanos < 0 or abs(seconds) > _DURATION_LIMIT:
            return _bad(f"seconds {seconds} and nanos {nanos} are no duration", "DURATION")
        length = seconds + nanos / 1e9
        if (low is not None and length < low) or (high is not None and length > high):
            return _bad(f"is {length:g} s; allowed is {allowed}", "OUT_OF_RANGE")
        return _FINE

    return check


def _allowed(low: float | None, high: float | None, unit: str = "") -> str:
    if high is None:
        return f"at least {low}{unit}"
    return f"at most {high:.12g}{unit}" if low is None else f"{low:.12g} to {high:.12g}{unit}"


def _count_check(rules: Rules) -> Callable[[int], Sequence[FieldViolation]]:
    least, most = rules.min_items, rules.max_items or math.inf

    def check(count: int) -> Sequence[FieldViolation]:
        if count > most:
            return _bad(f"has {count} elements; at most {most} are allowed", "TOO_MANY")
        if count < least:
            return _bad(f"has {count} elements; at least {least} are needed", "TOO_FEW")
        return _FINE

    return check


def _list_check(field: FieldDescriptor, rules: Rules) -> Check:
    element = _value_check(field, rules.items if rules.HasField("items") else _NO_RULES)
    key, check_count = rules.unique, _count_check(rules)

    def check(values: Sequence[Any]) -> Sequence[FieldViolation]:
        count = len(values)
        if wrong := check_count(count):
            return wrong
        found: list[FieldViolation] = []
        for index, value in enumerate(values):
            if wrong := element(value):
                found += under(f"[{index}]", wrong)
        return found + _duplicates(values, key) if key and count > 1 else found

    return check


def _duplicates(values: Sequence[Any], key: str) -> list[FieldViolation]:
    first: dict[object, int] = {}
    found = []
    for index, value in enumerate(values):
        seen = first.setdefault(getattr(value, key), index)
        if seen != index:
            text = f"{shown(str(getattr(value, key)))} is at [{seen}] already"
            found.append(FieldViolation(f"[{index}].{key}", text, "DUPLICATE"))
    return found


def _map_check(entry: Descriptor, rules: Rules) -> Check:
    fields = entry.fields_by_name
    inner = _default_rules(entry.fields[0])
    key_check = _value_check(fields["key"], rules.keys if rules.HasField("keys") else inner)
    value_check = _value_check(fields["value"], rules.items if rules.HasField("items") else inner)
    check_count = _count_check(rules)

    def check(values: Mapping[Any, Any]) -> Sequence[FieldViolation]:
        if wrong := check_count(len(values)):
            return wrong
        found: list[FieldViolation] = []
        for key in values:  # Faster than their items.
            value = values[key]
            if key == "" and rules.HasField("keys"):
                found.append(FieldViolation("[]", "a key must not be empty", "REQUIRED"))
            bad_key, bad_value = key_check(key), value_check(value)
            if bad_key or bad_value:
                found += under(subscript(key), (*bad_key, *bad_value))
        return found

    return check


def subscript(key: object) -> str:
    """How the paths of violations write a key of a map."""
    return f"[{shown(str(key))[1:-1]}]"
