"""Mistakes in spec files: each with file, line, column and path, all of them at once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from subgrpc.errors import FieldViolation, InvalidArgument
from subgrpc.spec import Spec, load_spec, parse_spec
from subgrpc.spec.jsonreader import read_json
from subgrpc.spec.tree import MAX_DEPTH, SyntaxProblem, plain
from subgrpc.v1.experiment_service_pb2 import Experiment

SERVED = """\
command: x
env:
  TOKEN: {secret:   a}
driver_options:
  local: {nice: 3}
labels: {a.b/c: d}
"""
MANY = """\
Name: Bad Name
comand: python train.py
replicas: 0
timeout: soon
cluster: GPU_1
env:
  9A: x
  SUBGRPC_X: 1
  B: {secret: UPPER}
  C: [1]
labels:
  "bad key!": x
resources:
  cpu: 2 cores
  memory: 20gi
  gpu: 1
args: [a, null, ""]
command: x
command: y
"""


def mistakes(text: str, *, is_json: bool = False) -> list[str]:
    """Every mistake as LINE:COLUMN PATH REASON."""
    with pytest.raises(InvalidArgument) as caught:
        parse_spec(text, is_json=is_json, source="f")
    return [
        f"{each.place.removeprefix('f:')} {each.field} {each.reason}"
        for each in caught.value.violations
    ]


def test_all_mistakes_of_every_kind_are_told_at_once() -> None:
    """Of the form, of single fields, of their combinations; in the order of the file."""
    assert mistakes(MANY) == [
        "1:1 Name UNKNOWN_FIELD",
        "2:1 comand UNKNOWN_FIELD",
        "3:11 replicas OUT_OF_RANGE",
        "4:10 timeout INVALID_VALUE",
        "5:10 cluster PATTERN",
        "7:3 env.9A PATTERN",
        "8:3 env.SUBGRPC_X RESERVED",
        "9:15 env.B.secret PATTERN",
        "10:6 env.C INVALID_VALUE",
        "12:3 labels.bad key! PATTERN",
        "14:8 resources.cpu QUANTITY",
        "15:11 resources.memory QUANTITY",
        "16:3 resources.gpu UNKNOWN_FIELD",
        "17:7 args MUTUALLY_EXCLUSIVE",
        "17:11 args[1] INVALID_VALUE",
        "19:1 command DUPLICATE_KEY",
    ]


def test_a_mistake_says_what_was_found_and_what_is_allowed() -> None:
    """In one line that editors and CI can jump from."""
    with pytest.raises(InvalidArgument) as caught:
        parse_spec("command: x\nreplicas: 2000", source="dir/a.yaml")
    assert str(caught.value) == "dir/a.yaml:2:11: replicas: is 2000; allowed is 1 to 1000"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{\n  "command": "x",\n  "replicas": 0\n}', ["3:15 replicas OUT_OF_RANGE"]),
        ('{"command": "x",\r\n\t"cmd": "y"}', ["2:2 cmd UNKNOWN_FIELD"]),
        ('{"command": "é", "zzz": 1}', ["1:18 zzz UNKNOWN_FIELD"]),
        ('{"args": ["a", {}]}', ["1:16 args[1] INVALID_VALUE"]),
        ('{"args": ["a",]}', ["1:14  SPEC_SYNTAX"]),
        ('{"command": "x" "y": 1}', ["1:17  SPEC_SYNTAX"]),
        ('{"command": "x"}}', ["1:17  SPEC_SYNTAX"]),
        ("{'command': 'x'}", ["1:2  SPEC_SYNTAX"]),
        ('{"command": "x\ny"}', ["1:15  SPEC_SYNTAX"]),
        ('{"command": True}', ["1:13  SPEC_SYNTAX"]),
        ("", ["1:1  SPEC_SYNTAX"]),
    ],
)
def test_json_has_places_too(text: str, wanted: list[str]) -> None:
    """Also of its keys, and of what is no JSON."""
    assert mistakes(text, is_json=True) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("command: x\r\nreplicas: 0\r\n", ["2:11 replicas OUT_OF_RANGE"]),
        ("\ufeffreplicas: 0\ncommand: x", ["1:11 replicas OUT_OF_RANGE"]),
        ("r: &r {cpu: 1}", ["1:1 r UNKNOWN_FIELD"]),
        ("x-r: &r {cpus: 1}\ncommand: x\nresources: *r", ["1:10 resources.cpus UNKNOWN_FIELD"]),
        ("command: x\ntaskGroups: []\ntask_groups: []", ["1:1 command CONFLICT"]),
        ("command: x\nqueueTimeout: 1\nqueue_timeout: 2", ["3:1 queue_timeout DUPLICATE_KEY"]),
        ("command: x\nenv: {A: !!int 1}", ["2:10 env.A UNSUPPORTED"]),
        ("command: x\nenv: {<<: {}}", ["2:7 env.<< UNSUPPORTED"]),
        ("command: x\nenv: {A: 1, A: 2}", ["2:13 env.A DUPLICATE_KEY"]),
        (
            "task_groups: [{command: x}, {role: main, command: y}]",
            ["1:36 task_groups[1].role DUPLICATE"],
        ),
        (
            "task_groups: [{role: a, env: [{value: x}], command: y}]",
            ["1:31 task_groups[0].env[0].name REQUIRED"],
        ),
        ("task_groups: [{role: a}]", ["1:15 task_groups[0].command REQUIRED"]),
        ("spec: {task_groups: []}", ["1:1 spec UNKNOWN_FIELD"]),
        ('args: [""]', ["1:8 args[0] REQUIRED"]),
    ],
)
def test_the_place_is_that_of_the_mistake(text: str, wanted: list[str]) -> None:
    """Whatever the line ends, marks, anchors and spellings; what is missing, where it should be."""
    found = mistakes(text)
    assert [each for each in found if each in wanted] == sorted(wanted)
    assert len(found) <= len(wanted) + 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("env:\n\tA: 1", "f:2:1: a tab: YAML is indented with spaces only"),
        ("command: echo: foo", "f:1:14: a second ': ' in this line"),
        ("command: @x", "f:1:10: a value cannot start with '@': put it in quotes"),
        ('command: "abc', "that starts at line 1"),
    ],
)
def test_what_yaml_refuses_is_said_in_plain_words(text: str, told: str) -> None:
    """The parser's own words help nobody who runs into its rules for the first time."""
    with pytest.raises(InvalidArgument) as caught:
        parse_spec(text, source="f")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("command: x".encode("utf-16"), ":1:1: the file is UTF-16; save it as UTF-8"),
        ("command: x".encode("utf-32"), ":1:1: the file is UTF-32"),
        (b"\xef\xbb\xbfname: \xff", ":1:7: the byte 0xFF is not UTF-8"),
        ("a: é\nb: é".encode("latin-1"), ":1:4: the byte 0xE9"),
        (b"\x89PNG\r\n\x1a\n", ":1:1: the byte 0x89"),
        (b"a: \x07", ":1:4: the character U+0007"),
    ],
)
def test_a_wrong_encoding_is_named_with_its_place(tmp_path: Path, raw: bytes, told: str) -> None:
    """And the right one."""
    file = tmp_path / "spec.yaml"
    file.write_bytes(raw)
    with pytest.raises(InvalidArgument) as caught:
        load_spec(file)
    assert f"{file}{told}" in str(caught.value)


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        ("experiment.spec.env[0].secret", "f:3:21: env.TOKEN.secret"),
        ("experiment.spec.env[0].name", "f:3:3: env.TOKEN"),
        ("experiment.spec.cluster", "f: cluster"),
        ("experiment.spec.driver_options[local].nice", "f:5:17: driver_options.local.nice"),
        ("experiment.spec.driver_options[local].fields[nice]", "f:5:17: driver_options.local.nice"),
        ("experiment.spec.driver_options[local].other", "f:5:10: driver_options.local.other"),
        ("experiment.labels[a.b/c]", "f:6:10: labels.a.b/c"),
        ("experiment_id", "f: name"),
    ],
)
def test_what_the_server_finds_has_its_place_too(field: str, shown: str) -> None:
    """Unknown secrets, options that a driver refuses; what an option said has only the file."""
    spec = parse_spec(SERVED, source="f")
    refused = InvalidArgument(violations=[FieldViolation(field, "no", "R")], reason="R")
    located = spec.located(refused)
    assert [f"{each.place}: {each.field}" for each in located.violations] == [shown]
    assert located.reason == "R"


def test_what_was_made_without_a_file_has_the_same_paths() -> None:
    """Of the short form where the role stands at the top."""
    fields = ["experiment_id", "experiment.spec.cluster", "experiment.spec.task_groups[0].args[0]"]
    refused = InvalidArgument(violations=[FieldViolation(each, "no") for each in fields])
    for short, args in ((True, "args[0]"), (False, "task_groups[0].args[0]")):
        spec = Spec("", Experiment(), short=short)
        assert [each.field for each in spec.located(refused).violations] == [
            "name",
            "cluster",
            args,
        ]
    assert parse_spec("command: x").path_of(fields[2]) == "args[0]"


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(f"key{n}: 1" for n in range(80)),
        "command: x\nenv:\n" + "\n".join(f"  9A{n}: x" for n in range(80)),
    ],
    ids=["keys", "rules"],
)
def test_what_is_left_out_is_counted(text: str) -> None:
    """Fifty are shown; nobody reads more."""
    with pytest.raises(InvalidArgument) as caught:
        parse_spec(text)
    assert len(caught.value.violations) == 50
    assert int(caught.value.metadata["omittedViolations"]) == 30


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from([None, 0, 2]))
def test_json_is_read_as_python_reads_it(value: object, indent: int | None) -> None:
    """Our reader knows places, and nothing else that the standard one does not."""
    assert plain(read_json(json.dumps(value, indent=indent)).root) == value


@settings(max_examples=300)
@given(st.text(st.sampled_from('{}[]:,"\\ \n\ttrue0.eE-+u9') | st.characters(), max_size=40))
def test_what_python_refuses_as_json_is_refused(text: str) -> None:
    """With a place inside of the text."""
    try:
        wanted = json.loads(text, parse_constant=lambda word: 1 / 0)
    except (ValueError, ZeroDivisionError):
        with pytest.raises(SyntaxProblem) as caught:
            read_json(text)
        assert 1 <= caught.value.line <= text.count("\n") + 1
    else:
        seen = read_json(text)
        assert seen.findings or plain(seen.root) == wanted


@given(st.dictionaries(st.sampled_from(["commnd", "replicas", "env", "labels"]), JSON, min_size=1))
def test_every_mistake_has_a_place_in_the_file(document: dict[str, object]) -> None:
    """Inside of its lines."""
    text = yaml.safe_dump(document)
    with pytest.raises(InvalidArgument) as caught:
        parse_spec(text, source="f")
    for each in caught.value.violations:
        _, line, column = each.place.split(":")
        assert 1 <= int(line) <= text.count("\n") + 1
        assert int(column) >= 1


def test_thousands_of_mistakes_take_no_minutes() -> None:
    """What is wrong everywhere is said as soon as what is wrong once."""
    env = ", ".join(f"SUBGRPC_{n}: x" for n in range(1000))
    roles = (f"- {{role: r{n}, command: x, env: {{{env}}}}}" for n in range(10))
    start = time.monotonic()
    assert len(mistakes("task_groups:\n" + "\n".join(roles))) == 50
    assert time.monotonic() - start < 10


def test_json_is_not_nested_too_deep() -> None:
    """As YAML."""
    fine = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert read_json(fine)
    with pytest.raises(SyntaxProblem, match="deeper than"):
        read_json(f"[[{fine}]]")
