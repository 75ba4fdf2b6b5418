"""docs/spec.md and the JSON Schema say what the protos say, and what the reader does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subgrpc.cli.main import run
from subgrpc.errors import InvalidArgument
from subgrpc.quantities import parse_bytes, parse_cpu
from subgrpc.spec import parse_duration, parse_spec
from subgrpc.spec.source import parse
from subgrpc.spec.tree import plain

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = (ROOT / "docs" / "spec.md").read_text()
SCHEMA = json.loads((ROOT / "subgrpc" / "spec" / "experiment.schema.json").read_text())
OWN = SCHEMA["else"]["properties"]
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def accepts(schema: Any, value: Any) -> bool:
    """Whether a schema accepts a value: the part of draft 7 that ours uses."""
    if isinstance(schema, bool):
        return schema
    kinds = schema.get("type", [*TYPES])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(
        isinstance(value, TYPES[kind]) and (kind == "boolean") >= isinstance(value, bool)
        for kind in kinds
    ):
        return False
    if "if" in schema:
        branch = "then" if accepts(schema["if"], value) else "else"
        if not accepts(schema[branch], value):
            return False
    count = sum(accepts(each, value) for each in schema.get("oneOf", []))
    return (
        value in schema.get("enum", [value])
        and ("oneOf" not in schema or count == 1)
        and ("anyOf" not in schema or any(accepts(each, value) for each in schema["anyOf"]))
        and ("not" not in schema or not accepts(schema["not"], value))
        and _inside(schema, value)
    )


def _inside(schema: Any, value: Any) -> bool:
    if isinstance(value, str):
        return (
            schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
            and re.search(schema.get("pattern", ""), value) is not None
        )
    if isinstance(value, list):
        return schema.get("minItems", 0) <= len(value) <= schema.get(
            "maxItems", len(value)
        ) and all(accepts(schema.get("items", True), each) for each in value)
    if isinstance(value, dict):
        return _mapping(schema, value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        least = schema.get("exclusiveMinimum")
        return schema.get("minimum", value) <= value <= schema.get("maximum", value) and (
            least is None or value > least
        )
    return True


def _mapping(schema: Any, value: dict[str, Any]) -> bool:
    names = schema.get("propertyNames", True)
    return (
        all(key in value for key in schema.get("required", []))
        and len(value) >= schema.get("minProperties", 0)
        and len(value) <= schema.get("maxProperties", len(value))
        and all(accepts(names, key) and _entry(schema, key, value[key]) for key in value)
        and all(
            accepts(rule, value)
            for key, rule in schema.get("dependencies", {}).items()
            if key in value
        )
    )


def _entry(schema: Any, key: str, value: Any) -> bool:
    if key in schema.get("properties", {}):
        return accepts(schema["properties"][key], value)
    patterns = schema.get("patternProperties", {})
    matching = [rule for pattern, rule in patterns.items() if re.search(pattern, key)]
    return all(
        accepts(rule, value) for rule in matching or [schema.get("additionalProperties", {})]
    )


def documents() -> list[str]:
    """Every spec that the documents and examples show."""
    texts = [
        REFERENCE,
        (ROOT / "README.md").read_text(),
        *(f"```yaml\n{path.read_text()}```" for path in ROOT.glob("examples/**/experiment.yaml")),
        *(f"```yaml\n{path.read_text()}```" for path in ROOT.glob("subgrpc/cli/starter/*.yaml")),
    ]
    found = [re.findall(r"^```(?:yaml|json)\n(.*?)^```", each, re.M | re.S) for each in texts]
    return [each for blocks in found for each in blocks]


def test_what_is_generated_is_what_the_protos_say() -> None:
    """`make generate` was run after their last change."""
    check = [sys.executable, "tools/spec_reference.py", "--check"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("text", documents())
def test_every_spec_that_is_shown_is_valid(text: str) -> None:
    """For the reader and for the schema."""
    assert parse_spec(text).experiment.spec.task_groups
    assert accepts(SCHEMA, plain(parse(text, is_json=False).root))


def test_the_mistakes_that_are_shown_are_those_that_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Word for word."""
    (bad,) = re.findall(r"^```yml\n(.*?)^```", REFERENCE, re.M | re.S)
    (shown,) = re.findall(r"^```text\n(.*?)^```", REFERENCE, re.M | re.S)
    monkeypatch.chdir(tmp_path)
    Path("experiment.yaml").write_text(bad)
    assert run(["validate", "experiment.yaml"]) == 1
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize(
    "text",
    [
        "comand: x",
        "env: {A: 1}",
        "command: x\nargs: [y]",
        "command: x\ntask_groups: [{command: y}]",
        "replicas: 2\ntask_groups: [{command: y}]",
        "command: x\nreplicas: 0",
        "command: x\nreplicas: two",
        "command: x\nname: Upper",
        "command: x\ntimeout: soon",
        "command: x\ntimeout: 5m1h",
        "command: x\nresources: {cpu: 2 cores}",
        "command: x\nresources: {memory: 20gi}",
        "command: x\nresources: {gpu: 1}",
        "command: x\nenv: {9A: 1}",
        "command: x\nenv: {A: {secrt: a}}",
        "command: x\nenv: [A=b]",
        "command: x\nlabels: {'a b': c}",
        "command: x\nretry_policy: {max_retries: 101}",
        "command: x\nsubstitute: 'true'",
        "task_groups: []",
        "task_groups: [{role: a}]",
        "meta: {name: a}",
        "meta: {cmd: x}\nspec: {}",
        "meta: {cmd: x}\nspec: {Worker: {replica: 1}}",
        "environment: {image: a}\nspec: {Worker: {cmd: x}}",
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(text: str) -> None:
    """The mistakes that people make while they type."""
    with pytest.raises(InvalidArgument):
        parse_spec(text)
    assert not accepts(SCHEMA, plain(parse(text, is_json=False).root))


@pytest.mark.parametrize(
    ("schema", "reader"),
    [
        (OWN["resources"]["properties"]["cpu"], parse_cpu),
        (OWN["resources"]["properties"]["memory"], parse_bytes),
        (OWN["timeout"], parse_duration),
    ],
    ids=["cores", "bytes", "spans"],
)
@given(
    text=st.from_regex(r"[0-9.]{1,4}[a-zA-Z]{0,3}", fullmatch=True)
    | st.from_regex(r"([1-9](\.[0-9])?(d|h|m|s|ms|us|ns)){1,3}", fullmatch=True)
)
def test_the_schema_knows_the_same_values(schema: Any, reader: Any, text: str) -> None:
    """What it accepts is refused for its size only, and the other way round."""
    try:
        reader(text)
    except ValueError as error:
        told = str(error)
    else:
        told = ""
    sizes = ("no processor", "no memory", "finer than", "not a whole number of bytes", "more than")
    assert accepts(schema, text) == (not told) or any(each in told for each in sizes)


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """As it is installed, for an editor's settings."""
    assert run(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA


def test_every_key_has_words() -> None:
    """Editors show them."""
    assert [key for key, schema in OWN.items() if not schema.get("description")] == []
