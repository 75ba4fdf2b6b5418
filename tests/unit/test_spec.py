"""Specs: what people write in YAML or JSON becomes exactly that experiment, or a clear error."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import pytest
import yaml
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st

from subgrpc.errors import FieldViolation, InvalidArgument
from subgrpc.spec import MAX_FILE_BYTES, load_spec, parse_duration, parse_spec
from subgrpc.v1.experiment_service_pb2 import Experiment

FULL = """
name: digits
display_name: Handwritten digits
labels: {team: vision, year: 2026}
description: |
  Two lines.
  Of text.
cluster: gpu-east
timeout: 1h30m
queue_timeout: 90
termination_grace_period: 2.5s
env: {SEED: 1}
retry_policy: {max_retries: 3, initial_backoff: 5s}
task_groups:
  - role: ps
    args: [python, ps.py, --port, 8080]
  - role: worker
    replicas: 2
    command: python train.py | tee log
    env:
      - {name: LR, value: 1e-3}
      - {name: TOKEN, secret: hf-token}
    resources: {cpu: 0.5, memory: 4Gi, gpus: 1}
driver_options:
  local: {working_directory: /data, nice: 3, tags: [a, 1.5, true, null]}
"""


def broken(text: str, *, is_json: bool = False) -> InvalidArgument:
    """The error of a text that is no spec."""
    with pytest.raises(InvalidArgument) as caught:
        parse_spec(text, is_json=is_json)
    return caught.value


def test_the_full_form_sets_every_field() -> None:
    """Every key lands in the field of its name, spans and quantities as people write them."""
    spec = parse_spec(FULL)
    experiment = spec.experiment
    assert (spec.experiment_id, experiment.display_name) == ("digits", "Handwritten digits")
    assert dict(experiment.labels) == {"team": "vision", "year": "2026"}
    found = experiment.spec
    assert (found.cluster, found.description) == ("gpu-east", "Two lines.\nOf text.\n")
    assert found.timeout.ToSeconds() == 5400
    assert found.queue_timeout.ToSeconds() == 90
    assert found.termination_grace_period.ToMilliseconds() == 2500
    assert found.retry_policy.max_retries == 3
    assert found.retry_policy.initial_backoff.ToSeconds() == 5
    server, worker = found.task_groups
    assert list(server.args) == ["python", "ps.py", "--port", "8080"]
    assert not server.HasField("replicas")
    assert (worker.role, worker.replicas, worker.command) == (
        "worker",
        2,
        "python train.py | tee log",
    )
    assert [(each.name, each.value, each.secret) for each in worker.env] == [
        ("LR", "1e-3", ""),
        ("TOKEN", "", "hf-token"),
    ]
    assert (worker.resources.cpu, worker.resources.memory, worker.resources.gpus) == (
        "0.5",
        "4Gi",
        1,
    )
    options = found.driver_options["local"]
    assert options["working_directory"] == "/data"
    assert MessageToDict(options)["tags"] == ["a", 1.5, True, None]


def test_the_short_form_is_one_role() -> None:
    """A newcomer's three lines are a whole experiment."""
    spec = parse_spec("command: python train.py\nresources: {cpu: 2}\nenv: {A: x}")
    (group,) = spec.experiment.spec.task_groups
    assert (group.command, group.resources.cpu) == ("python train.py", "2")
    assert spec.experiment.spec.env[0].name == "A"


@pytest.mark.parametrize(
    "text", ["010", "1:30", "yes", "true", "1.0e-3", "0x1F", "2026-01-01", "no"]
)
def test_a_variable_has_the_text_that_was_written(text: str) -> None:
    """YAML 1.1 would make 8, 90, True, 0.001, 31 and a date of them."""
    (variable,) = parse_spec(f"command: x\nenv: {{V: {text}}}").experiment.spec.env
    assert variable.value == text


def test_json_with_its_own_spelling_is_a_spec_too() -> None:
    """What `get -o json` prints can be copied: camelCase keys, tabs, exact numbers."""
    text = '{\n\t"taskGroups": [{"args": ["x"]}],\n\t"queueTimeout": "3.5s", "env": {"A": 1.50}}'
    found = parse_spec(text).experiment.spec
    assert found.queue_timeout.ToMilliseconds() == 3500
    assert found.env[0].value == "1.50"


@pytest.mark.parametrize(
    ("text", "field", "told"),
    [
        ("comand: x", "comand", "did you mean 'command'?"),
        ("command: x\nresources: {ram: 1Gi}", "resources.ram", "did you mean 'memory'?"),
        ("command: x\nzzz: 1", "zzz", "known are args"),
        ("command: x\nstate: RUNNING", "state", "no known key"),
        ("args: python train.py", "args", "for a line of shell use 'command'"),
        ("args: [a, [b]]", "args[1]", "must be one value"),
        ("args: [a, null]", "args[1]", "must be one value"),
        ("command: [a]", "command", "must be one value"),
        ("command: x\nreplicas: two", "replicas", "whole number"),
        ("command: x\nreplicas: -1", "replicas", "whole number"),
        ("command: x\nreplicas: 99999999999", "replicas", "whole number"),
        ("command: x\nreplicas: true", "replicas", "whole number"),
        ("command: x\ntimeout: soon", "timeout", "not a span of time"),
        ("command: x\ntimeout: 5m1h", "timeout", "not a span of time"),
        ("command: x\ntimeout: [1]", "timeout", "span of time"),
        ("command: x\ntimeout: 999999999999d", "timeout", "ten thousand years"),
        ("command: x\nenv: {A: }", "env.A", 'write ""'),
        ("command: x\nenv: {A: {value: b}}", "env.A", "{secret: NAME}"),
        ("command: x\nenv: [A=b]", "env[0]", "mapping"),
        ("command: x\nlabels: [a]", "labels", "mapping"),
        ("command: x\nname: [a]", "name", "must be one value"),
        ("command: x\ntask_groups: [{command: y}]", "command", "belongs into a task group"),
        ("task_groups: [{role: a, comand: x}]", "task_groups[0].comand", "did you mean 'command'?"),
        ("command: x\ndriver_options: {local: 1}", "driver_options.local", "mapping"),
        (
            "command: x\ndriver_options: {local: {id: 9007199254740993}}",
            "driver_options.local.id",
            "put it in quotes",
        ),
        ("env: {A: b}", "command", "give either command or args"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, field: str, told: str) -> None:
    """The key's path, what is wrong, and what was meant."""
    (violation,) = broken(text).violations
    assert violation.field == field
    assert told in violation.description
    assert re.fullmatch(r"the spec:[0-9]+:[0-9]+", violation.place)


def test_all_mistakes_are_told_at_once() -> None:
    """Nobody wants to find them one by one."""
    error = broken("comand: x\nreplicas: two\ntimeout: soon")
    assert [each.field for each in error.violations] == ["comand", "replicas", "timeout"]
    assert len(broken("\n".join(f"key{n}: 1" for n in range(500))).violations) == 50


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("null", "is empty"),
        ("- x", "must be a mapping"),
        ("just words", "must be a mapping"),
        ("a: [", "the spec:2:1:"),
        ("command: x\ncommand: y", "the spec:2:1: command: the key 'command' stands here twice"),
        ("command: x\n---\ncommand: y", "one file holds one experiment"),
        ("command: !!python/object/apply:os.system [id]", "tags such as"),
        ("base: &b {a: 1}\nenv: {<<: *b}", "merge keys"),
        ("env: *nothing", "no anchor &nothing"),
        ("? [a]\n: b", "a key must be a plain word"),
        ("command: a\x00b", "U+0000"),
        ("[" * 100_000, "deeper than"),
        ('{"command": ' * 50_000, "the spec"),
        ("a: &a {k: 1}\n" + "b: &b [*a, *a]\n", "no known key"),
    ],
)
def test_what_is_no_spec_is_refused_clearly(text: str, told: str) -> None:
    """Broken, hostile and empty documents end in one sentence, never in a crash."""
    assert told in str(broken(text))


def test_aliases_cannot_blow_up() -> None:
    """A billion laughs are refused after a hundred thousand."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "more than 100000 values" in str(broken("\n".join(lines)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"command": "x", "command": "y"}', ":1:18: command: the key 'command' stands here twice"),
        ('{"command": NaN}', "NaN is not JSON"),
        ('{"command": }', ":1:13"),
        ("[" * 5000 + "]" * 5000, "deeper than"),
        ('{"command": "\\ud800"}', "surrogate"),
    ],
)
def test_broken_json_is_refused_clearly(text: str, told: str) -> None:
    """JSON's own mistakes, in JSON's own words."""
    assert told in str(broken(text, is_json=True))


def test_a_relative_working_directory_starts_at_the_file(tmp_path: Path) -> None:
    """The experiment runs beside its spec wherever the command was typed."""
    file = tmp_path / "experiment.yaml"
    file.write_text("command: x\ndriver_options: {local: {working_directory: src/..}}")
    options = load_spec(file).experiment.spec.driver_options["local"]
    assert options["working_directory"] == str(tmp_path)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """Missing, a folder, huge, not text: each its own sentence."""
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * (10 << 20))
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"command: x\nname: caf\xe9")
    for path, told in [
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "Is a directory"),
        (huge, f"more than {MAX_FILE_BYTES >> 20} MiB"),
        (latin, "latin.yaml:2:10: the byte 0xE9 is not UTF-8"),
    ]:
        with pytest.raises(InvalidArgument, match=told):
            load_spec(path)


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        ("experiment_id", "name"),
        ("experiment.labels", "labels"),
        ("experiment.spec.task_groups[0].command", "command"),
        ("experiment.spec.timeout", "timeout"),
    ],
)
def test_what_the_server_refuses_is_shown_with_the_files_own_keys(field: str, shown: str) -> None:
    """The user knows the file, not the request."""
    spec = parse_spec("name: a\nlabels: {}\ntimeout: 5\ncommand: x")
    refused = InvalidArgument(violations=[FieldViolation(field, "no")], reason="WHY")
    (violation,) = spec.located(refused).violations
    assert violation.field == shown
    assert violation.place.startswith("the spec:")


def test_the_full_form_keeps_its_paths() -> None:
    """There the groups stand in the file."""
    spec = parse_spec("task_groups: [{command: x}]")
    refused = InvalidArgument(
        violations=[FieldViolation("experiment.spec.task_groups[0].command", "no")]
    )
    (violation,) = spec.located(refused).violations
    assert str(violation) == "the spec:1:25: task_groups[0].command: no"


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("90", 90 * 10**9),
        ("0.25", 25 * 10**7),
        ("90s", 90 * 10**9),
        ("1h30m", 5400 * 10**9),
        ("1d2h3m4.5s", (86400 + 7200 + 180) * 10**9 + 4_500_000_000),
        ("250ms", 25 * 10**7),
        ("1us5ns", 1005),
    ],
)
def test_spans_of_time(text: str, nanoseconds: int) -> None:
    """A bare number is seconds; units go from the greatest to the least."""
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "s", "5", "-5s", "5 s", "1s1s", "1m1h", "1e3", "inf", "٣s"])
def test_what_is_no_span_of_time(text: str) -> None:
    """No guessing: 5 is seconds, everything else needs its unit, in order."""
    if text == "5":
        assert parse_duration(text) == 5 * 10**9
        return
    with pytest.raises(ValueError, match="is not a span of time"):
        parse_duration(text)


@settings(max_examples=300)
@given(st.text(max_size=200))
def test_any_text_is_a_spec_or_a_clear_error(text: str) -> None:
    """No text crashes the reader."""
    with contextlib.suppress(InvalidArgument):
        assert isinstance(parse_spec(text).experiment, Experiment)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=10,
)
KEYS = st.sampled_from(
    [
        "name",
        "labels",
        "env",
        "timeout",
        "task_groups",
        "command",
        "args",
        "replicas",
        "resources",
        "retry_policy",
        "driver_options",
        "description",
    ]
)


@settings(max_examples=300)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_value_anywhere_is_read_or_named(document: dict[str, object]) -> None:
    """Whatever stands at a known key, in YAML or JSON, ends in a spec or in violations."""
    for text in (yaml.safe_dump(document, allow_unicode=True), json.dumps(document)):
        with contextlib.suppress(InvalidArgument):
            parse_spec(text)


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True),
            st.text(st.characters(exclude_characters="\0")),
        ),
        max_size=5,
    )
)
def test_variables_arrive_as_they_were_quoted(pairs: list[tuple[str, str]]) -> None:
    """Every text survives JSON, order included."""
    wanted = dict(pairs)
    with contextlib.suppress(UnicodeEncodeError):
        json.dumps(wanted, ensure_ascii=False).encode()
        found = parse_spec(json.dumps({"command": "x", "env": wanted}), is_json=True)
        assert [(each.name, each.value) for each in found.experiment.spec.env] == list(
            wanted.items()
        )
