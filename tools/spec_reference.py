"""Writes what documents the spec from the protos: the JSON Schema and the tables of docs/spec.md.

    .venv/bin/python tools/spec_reference.py [--check]

`--check` writes nothing and fails if what is checked in differs.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor

sys.path.insert(0, str(Path(__file__).resolve().parent))

from proto_files import comments, load
from spec_schema import build, is_map, rules_of

from subgrpc.options.v1.rules_pb2 import Quantity, Rules
from subgrpc.spec import own
from subgrpc.spec.fields import words_of
from subgrpc.v1.spec_pb2 import EnvVar, Input, Output, RetryPolicy, TaskGroup
from subgrpc.v1.types_pb2 import Resources

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "subgrpc" / "spec" / "experiment.schema.json"
REFERENCE = ROOT / "docs" / "spec.md"
_MARKS = re.compile(r"(<!-- fields: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_NESTED: dict[str, Descriptor] = {
    each.DESCRIPTOR.name: each.DESCRIPTOR
    for each in (TaskGroup, EnvVar, Resources, RetryPolicy, Output, Input)
}


def read_comments() -> dict[str, str]:
    """The comment before each message and field of the API, by full name, as one line."""
    names = ("spec", "types", "experiment_service")
    found = comments(load(*(f"subgrpc/v1/{each}.proto" for each in names)))
    return {name: " ".join(text.split()) for name, text in found.items()}


def table(fields: list[tuple[str, FieldDescriptor]], texts: dict[str, str]) -> str:
    """The fields as rows of Markdown."""
    rows = ["| key | value | meaning |", "|---|---|---|"]
    for name, field in fields:
        cells = (f"`{name}`", _kind(field), texts[field.full_name])
        rows.append(f"| {' | '.join(each.replace('|', chr(92) + '|') for each in cells)} |")
    return "\n".join(rows) + "\n"


def _fields(section: str) -> list[tuple[str, FieldDescriptor]]:
    if section == "Short":
        return [(each.name, each) for each in own.SHORT_FIELDS]
    if section == "Experiment":
        fields = [*own.TOP_FIELDS, *own.SPEC_FIELDS]
        return [("name", own.NAME_FIELD), *((each.name, each) for each in fields)]
    return [(each.name, each) for each in _NESTED[section].fields]


def _kind(field: FieldDescriptor) -> str:
    rules = rules_of(field)
    if is_map(field):
        value = field.message_type.fields_by_name["value"]
        text = f"mapping to {_one(value, rules.items)}; at most {rules.max_items}"
        help_text = rules.keys.pattern_help
        return f"{text}; keys: {help_text}" if help_text else text
    if field.message_type is EnvVar.DESCRIPTOR:
        return "[variables](#variables)"
    if field.is_repeated:
        # What a message is, its own table says.
        return f"list of {_one(field, rules.items)}; at most {rules.max_items}"
    return _one(field, rules)


def _one(field: FieldDescriptor, rules: Rules) -> str:
    kind = field.message_type
    if kind is not None:
        links = {
            "Duration": "[span of time](#spans-of-time)",
            "Struct": "mapping",
            "TaskGroup": "[task groups](#task-groups)",
            "Resources": "[resources](#resources)",
            "RetryPolicy": "[retry policy](#retry-policy)",
            "Output": "[outputs](#outputs)",
            "Input": "[inputs](#inputs)",
        }
        limits = _limits(rules, "min_seconds", "max_seconds", " s")
        return links[kind.name] + limits
    if field.enum_type is not None:
        words = [f"`{each}`" for each in words_of(field.enum_type)]
        return " or ".join(words)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return "`true` or `false`"
    if field.cpp_type == FieldDescriptor.CPPTYPE_UINT32:
        return "whole number" + _limits(rules, "min", "max", "")
    if rules.quantity:
        name = "cores" if rules.quantity == Quantity.QUANTITY_CPU else "bytes"
        return f"[quantity](#quantities) of {name}"
    if rules.pattern_help:
        return rules.pattern_help
    return f"text of at most {rules.max_len} characters" if rules.max_len else "text"


def _limits(rules: Rules, low: str, high: str, unit: str) -> str:
    has_low, has_high = rules.HasField(low), rules.HasField(high)  # type: ignore[arg-type]
    if has_low and has_high:
        return f", {getattr(rules, low):.12g} to {getattr(rules, high):.12g}{unit}"
    return f", at most {getattr(rules, high):.12g}{unit}" if has_high else ""


def outputs() -> dict[Path, str]:
    """What every generated file should hold."""
    texts = read_comments()
    schema = json.dumps(build(texts), indent=1, ensure_ascii=False) + "\n"
    document = REFERENCE.read_text(encoding="utf-8")
    document = _MARKS.sub(
        lambda found: f"{found[1]}\n{table(_fields(found[2]), texts)}\n{found[3]}", document
    )
    return {SCHEMA: schema, REFERENCE: document}


def main() -> int:
    """Writes, or compares; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for path, text in outputs().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(text, encoding="utf-8")
    if check and stale:
        print("not what the protos say; run `make generate`:", *stale, sep="\n  ", file=sys.stderr)
    return bool(check and stale)


if __name__ == "__main__":
    sys.exit(main())
