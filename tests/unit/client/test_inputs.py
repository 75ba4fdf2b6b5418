"""What `create` makes of its arguments."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from subgrpc.client.inputs import build, full_name
from subgrpc.errors import InvalidArgument
from subgrpc.spec import parse_spec
from subgrpc.v1.experiment_service_pb2 import Experiment
from subgrpc.v1.spec_pb2 import ExperimentSpec, TaskGroup

TEXT = "name: words\nlabels: {a: b}\ncommand: wc\nenv: {A: '1'}\n"


def test_a_line_is_for_the_shell_and_a_list_is_not() -> None:
    """As with `subprocess`."""
    assert build(None, "a | b").experiment.spec.task_groups[0].command == "a | b"
    assert list(build(None, ["a", "| b"]).experiment.spec.task_groups[0].args) == ["a", "| b"]


def test_a_command_has_resources() -> None:
    """Numbers or quantities."""
    made = build(None, "x", cpu=2, memory="4Gi", gpus=1, replicas=3)
    group = made.experiment.spec.task_groups[0]
    found = (group.resources.cpu, group.resources.memory, group.resources.gpus, group.replicas)
    assert found == ("2", "4Gi", 1, 3)


def test_every_form_of_a_spec_means_the_same(tmp_path: Path) -> None:
    """A file by its path, its text read, a mapping, messages."""
    file = tmp_path / "words.yaml"
    file.write_text(TEXT)
    read = parse_spec(TEXT)
    mapping = {"name": "words", "labels": {"a": "b"}, "command": "wc", "env": {"A": "1"}}
    message = Experiment(name="teams/default/experiments/words", uid="u")
    message.labels["a"] = "b"
    message.spec.CopyFrom(read.experiment.spec)
    for spec in (file, str(file), read, mapping, message):
        made = build(spec, None)
        assert made.experiment_id == "words"
        assert made.experiment == read.experiment
    assert build(read.experiment.spec, None).experiment.spec == read.experiment.spec


def test_what_stands_beside_a_spec_wins() -> None:
    """Also over the variables of a group; and what was given stays as it was."""
    spec = ExperimentSpec(task_groups=[TaskGroup(command="x")])
    spec.task_groups[0].env.add(name="A", value="group")
    before = spec.SerializeToString()
    made = build(
        spec, None, name="n", labels={"l": "1"}, env={"A": "new"}, cluster="c", max_retries=2
    )
    found = made.experiment.spec
    assert made.experiment_id == "n"
    assert dict(made.experiment.labels) == {"l": "1"}
    assert [(each.name, each.value) for each in found.env] == [("A", "new")]
    assert not found.task_groups[0].env
    assert (found.cluster, found.retry_policy.max_retries) == ("c", 2)
    assert spec.SerializeToString() == before


@pytest.mark.parametrize("span", [90, 90.0, "90s", "1m30s", timedelta(seconds=90)])
def test_a_span_is_written_in_several_ways(span: Any) -> None:
    """Seconds, text, or Python's own."""
    assert build(None, "x", timeout=span).experiment.spec.timeout.seconds == 90


def test_a_working_directory_is_made_absolute() -> None:
    """The server stands in another folder."""
    options = build(None, "x", working_directory=".").experiment.spec.driver_options["local"]
    assert options["working_directory"] == os.getcwd()


@pytest.mark.parametrize(
    ("spec", "command", "options", "field"),
    [
        (None, None, {}, "spec"),
        ({"command": "x"}, "x", {}, "spec"),
        ({"command": "x"}, None, {"cpu": 1}, "cpu"),
        ({"command": object()}, None, {}, "spec"),
        ({"comand": "x"}, None, {}, "comand"),
        (None, "x", {"timeout": "soon"}, "timeout"),
    ],
)
def test_mistakes_are_told_with_the_argument(
    spec: Any, command: Any, options: dict[str, Any], field: str
) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidArgument) as caught:
        build(spec, command, **options)
    assert [each.field for each in caught.value.violations] == [field]


def test_short_names() -> None:
    """An id, or a whole name."""
    assert full_name("x") == "teams/default/experiments/x"
    assert full_name("teams/a/experiments/x") == "teams/a/experiments/x"
