"""Environment variables in specs: only in files that ask for it, and never by halves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subgrpc.errors import InvalidArgument
from subgrpc.spec import load_spec, parse_spec
from subgrpc.v1.spec_pb2 import TaskGroup

ENVIRON = {"N": "3", "WHO": "world", "EMPTY": "", "REF": "${env:WHO}"}


def group(text: str) -> TaskGroup:
    """The one role of a spec that is read with ENVIRON."""
    return parse_spec(text, environ=ENVIRON).experiment.spec.task_groups[0]


@pytest.mark.parametrize("asked", ["", "substitute: false\n", "substitute:\n"])
def test_nothing_is_replaced_unless_the_file_asks(asked: str) -> None:
    """A spec means the same wherever it is read."""
    assert group(f"{asked}command: echo ${{env:WHO}}").command == "echo ${env:WHO}"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("echo ${env:WHO}", "echo world"),
        ("'${env:WHO}${env:N}'", "world3"),
        ("a${env:EMPTY}b", "ab"),
        ("${env:NONE:-some text}", "some text"),
        ("${env:EMPTY:-x}", "x"),
        ("a${env:NONE:-}", "a"),
        ("${env:WHO:-x}", "world"),
        ("echo $HOME ${HOME} $$ $(id)", "echo $HOME ${HOME} $$ $(id)"),
        ("$${env:WHO}", "${env:WHO}"),
        ("${env:REF}", "${env:WHO}"),
    ],
)
def test_references_and_nothing_else_are_replaced(written: str, read: str) -> None:
    """The shell's own syntax is left to the shell; what was put in is not looked at again."""
    assert group(f"substitute: true\ncommand: {written}").command == read


def test_values_of_every_kind_can_be_referred_to() -> None:
    """Numbers, lists, variables, options; keys stay what they are."""
    text = """
substitute: true
args: [train, "${env:N}"]
replicas: ${env:N}
resources: {cpu: "${env:N}", gpus: "${env:N}"}
timeout: ${env:N}m
env:
  A: ${env:EMPTY}
  B: "${env:EMPTY}"
driver_options:
  local:
    "${env:N}": "${env:N}"
    n: ${env:N}
"""
    spec = parse_spec(text, environ=ENVIRON)
    found = spec.experiment.spec
    (role,) = found.task_groups
    assert list(role.args) == ["train", "3"]
    assert (role.replicas, role.resources.cpu, role.resources.gpus) == (3, "3", 3)
    assert found.timeout.ToSeconds() == 180
    assert [each.value for each in found.env] == ["", ""]
    assert dict(found.driver_options["local"]) == {"${env:N}": "3", "n": 3.0}


@pytest.mark.parametrize(
    ("line", "place", "told"),
    [
        ("command: a ${env:NONE}", "2:10", "NONE, which is not set"),
        ("command: a ${env:}", "2:10", "write ${env:NAME}"),
        ("command: a ${env:1A}", "2:10", "write ${env:NAME}"),
        ("command: a ${env:WHO", "2:10", "write ${env:NAME}"),
        ("args: [a, '${env:NONE}']", "2:11", "write ${env:NONE:-DEFAULT}"),
        ("command: x\nreplicas: ${env:WHO}", "3:11", "whole number"),
        ("command: x\nreplicas: ${env:NONE:-0}", "3:11", "is 0; allowed is 1 to 1000"),
    ],
)
def test_what_cannot_be_replaced_is_a_mistake_with_its_place(
    line: str, place: str, told: str
) -> None:
    """Never an empty text in the middle of a command; values are checked once they are known."""
    with pytest.raises(InvalidArgument) as caught:
        parse_spec(f"substitute: true\n{line}", source="f", environ=ENVIRON)
    (violation,) = caught.value.violations
    assert violation.place == f"f:{place}"
    assert told in violation.description


def test_substitute_is_true_or_false() -> None:
    """Not a text, from which somebody would expect more."""
    with pytest.raises(InvalidArgument, match="substitute: must be true or false, not 'yes'"):
        parse_spec("substitute: yes\ncommand: x")


def test_variables_cannot_blow_up() -> None:
    """However often a file refers to a long one."""
    text = "substitute: true\nargs: [" + ", ".join(["'${env:LONG}'"] * 1000) + "]"
    with pytest.raises(InvalidArgument, match="more than 1 MiB"):
        parse_spec(text, environ={"LONG": "x" * 60_000})


def test_by_default_the_variables_are_those_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for whoever types `subgrpc run`."""
    monkeypatch.setenv("SPEC_TEST", "seen")
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"substitute": True, "command": "${env:SPEC_TEST}"}))
    assert load_spec(file).experiment.spec.task_groups[0].command == "seen"


def test_submarines_form_may_ask_too() -> None:
    """It is no key of Submarine's, and no mistake."""
    text = "substitute: true\nmeta: {cmd: 'echo ${env:WHO}'}\nspec: {Worker: {replicas: 1}}"
    assert group(text).command == "echo world"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_value_arrives_as_it_is(value: str) -> None:
    """No quoting, no second reading."""
    text = '{"substitute": true, "args": ["x", "<${env:V}>"]}'
    args = parse_spec(text, environ={"V": value}).experiment.spec.task_groups[0].args
    assert args[1] == f"<{value}>"
