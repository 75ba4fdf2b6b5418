"""Promises of `subgrpc.validation`: every rule of the protos is enforced, with a path to it."""

from __future__ import annotations

import contextlib
import math

import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

from subgrpc.errors import FieldViolation, InvalidArgument
from subgrpc.v1 import experiment_service_pb2 as pb
from subgrpc.v1.spec_pb2 import TaskGroup
from subgrpc.validation import MAX_VIOLATIONS, under, validate


def valid() -> pb.CreateExperimentRequest:
    request = pb.CreateExperimentRequest(parent="teams/default")
    request.experiment.spec.task_groups.add(role="worker", args=["train"])
    return request


def mistakes(request: object) -> dict[str, str]:
    """Reasons by path."""
    with pytest.raises(InvalidArgument) as caught:
        validate(request)  # type: ignore[arg-type]
    return {each.field: each.reason for each in caught.value.violations}


def test_a_valid_request_passes() -> None:
    request = valid()
    group = request.experiment.spec.task_groups[0]
    group.replicas = 1000
    group.resources.cpu, group.resources.memory, group.resources.gpus = "500m", "20GB", 8
    group.env.add(name="PATH", value="a\nb\tc")
    group.env.add(name="TOKEN", secret="teams/default/secrets/token")
    request.experiment.labels["team.org/kind"] = "vision"
    request.experiment.spec.description = "two\nlines"
    request.experiment.spec.driver_options["local"]["x"] = [1, {"a": "multi\nline"}]
    validate(request)


def test_what_is_required_is_named_and_nothing_else_is_said_of_it() -> None:
    assert mistakes(pb.CreateExperimentRequest()) == {
        "parent": "REQUIRED",
        "experiment": "REQUIRED",
    }
    request = pb.CreateExperimentRequest(parent="teams/default", experiment=pb.Experiment())
    assert mistakes(request) == {"experiment.spec": "REQUIRED"}


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        (lambda r: setattr(r, "parent", "teams/.."), "parent", "RESOURCE_NAME"),
        (lambda r: setattr(r, "parent", "teams/a/b"), "parent", "RESOURCE_NAME"),
        (lambda r: setattr(r, "parent", "teams/default\n"), "parent", "CONTROL_CHARACTER"),
        (lambda r: setattr(r, "experiment_id", "../etc"), "experiment_id", "PATTERN"),
        (lambda r: setattr(r, "experiment_id", "Big"), "experiment_id", "PATTERN"),
        (lambda r: setattr(r, "experiment_id", "a" * 64), "experiment_id", "TOO_LONG"),
        (lambda r: setattr(r, "experiment_id", "a\n"), "experiment_id", "CONTROL_CHARACTER"),
        (lambda r: setattr(r, "request_id", "x" * 129), "request_id", "TOO_LONG"),
        (
            lambda r: setattr(r.experiment, "display_name", "a\x1b[31m"),
            "experiment.display_name",
            "CONTROL_CHARACTER",
        ),
        (
            lambda r: setattr(r.experiment, "display_name", "a\u0085b"),
            "experiment.display_name",
            "CONTROL_CHARACTER",
        ),
        (lambda r: r.experiment.labels.update({"": "x"}), "experiment.labels[]", "REQUIRED"),
        (lambda r: r.experiment.labels.update({"-a": "x"}), "experiment.labels[-a]", "PATTERN"),
        (
            lambda r: r.experiment.labels.update({f"k{n}": "" for n in range(65)}),
            "experiment.labels",
            "TOO_MANY",
        ),
        (
            lambda r: setattr(r.experiment.spec.timeout, "seconds", -1),
            "experiment.spec.timeout",
            "OUT_OF_RANGE",
        ),
        (
            lambda r: setattr(r.experiment.spec.timeout, "nanos", 2_000_000_000),
            "experiment.spec.timeout",
            "DURATION",
        ),
        (
            lambda r: setattr(r.experiment.spec, "cluster", "clusters/../x"),
            "experiment.spec.cluster",
            "PATTERN",
        ),
        (
            lambda r: setattr(r.experiment.spec, "description", "x" * 300_000),
            "experiment.spec",
            "TOO_LARGE",
        ),
        (
            lambda r: r.experiment.spec.driver_options["local"].update({"x": math.inf}),
            "experiment.spec.driver_options[local].fields[x].number_value",
            "NOT_FINITE",
        ),
    ],
)
def test_each_mistake_is_found_where_it_is(change: object, field: str, reason: str) -> None:
    request = valid()
    change(request)  # type: ignore[operator]
    assert mistakes(request) == {field: reason}


@pytest.mark.parametrize(
    ("group", "field", "reason"),
    [
        (TaskGroup(role="a/b"), "role", "PATTERN"),
        (TaskGroup(role="worker-"), "role", "PATTERN"),
        (TaskGroup(replicas=0), "replicas", "OUT_OF_RANGE"),
        (TaskGroup(replicas=4_000_000_000), "replicas", "OUT_OF_RANGE"),
        (TaskGroup(command="a\x00b"), "command", "CONTROL_CHARACTER"),
        (TaskGroup(args=["ok", "a\x00b"]), "args[1]", "CONTROL_CHARACTER"),
        (TaskGroup(resources={"cpu": "-1"}), "resources.cpu", "QUANTITY"),
        (TaskGroup(resources={"cpu": "1e309"}), "resources.cpu", "QUANTITY"),
        (TaskGroup(resources={"memory": "20 parsecs"}), "resources.memory", "QUANTITY"),
        (TaskGroup(resources={"memory": "9999999999Ei"}), "resources.memory", "QUANTITY"),
        (TaskGroup(resources={"gpus": 5000}), "resources.gpus", "OUT_OF_RANGE"),
        (TaskGroup(env=[{"value": "x"}]), "env[0].name", "REQUIRED"),
        (TaskGroup(env=[{"name": "1A"}]), "env[0].name", "PATTERN"),
        (TaskGroup(env=[{"name": "A"}, {"name": "A"}]), "env[1].name", "DUPLICATE"),
        (TaskGroup(env=[{"name": "A", "secret": "../x"}]), "env[0].secret", "PATTERN"),
    ],
)
def test_each_mistake_of_a_role_is_found_where_it_is(
    group: TaskGroup, field: str, reason: str
) -> None:
    request = valid()
    request.experiment.spec.task_groups.append(group)
    assert mistakes(request) == {f"experiment.spec.task_groups[1].{field}": reason}


def test_all_mistakes_are_reported_at_once_up_to_a_limit() -> None:
    request = valid()
    del request.experiment.spec.task_groups[0].args[:]
    request.experiment.spec.task_groups[0].args.extend(["\x00"] * 4000)
    with pytest.raises(InvalidArgument) as caught:
        validate(request)
    assert len(caught.value.violations) == MAX_VIOLATIONS
    assert caught.value.metadata["omittedViolations"] == str(4000 - MAX_VIOLATIONS)


def test_what_the_server_sets_is_not_checked() -> None:
    request = valid()
    request.experiment.uid = "\x00../.."
    request.experiment.roles.add(role="\x00")
    validate(request)


def test_an_update_needs_no_field_of_the_resource() -> None:
    request = pb.UpdateExperimentRequest()
    request.experiment.name = "teams/default/experiments/x"
    validate(request)
    request.experiment.labels["\x00"] = "x"
    assert "experiment.labels[\\x00]" in mistakes(request)


def test_an_enum_value_that_does_not_exist_is_refused() -> None:
    request = pb.StreamLogsRequest(name="teams/default/experiments/x", stream=9)  # type: ignore[arg-type]
    assert mistakes(request) == {"stream": "UNKNOWN_VALUE"}


def test_a_resource_name_may_have_several_forms() -> None:
    for tail in ("", "/attempts/1", "/attempts/1/tasks/main-0"):
        validate(pb.StreamLogsRequest(name=f"teams/default/experiments/x{tail}"))
    request = pb.StreamLogsRequest(name="teams/default/experiments/x/attempts")
    assert mistakes(request) == {"name": "RESOURCE_NAME"}


def test_paths_are_joined_as_people_write_them() -> None:
    found = under("a", under("[0]", [FieldViolation("b", "", ""), FieldViolation("", "", "")]))
    assert [each.field for each in found] == ["a[0].b", "a[0]"]


@given(st.text(max_size=80))
def test_no_text_makes_validation_fail_otherwise(text: str) -> None:
    """Any string in any string field is accepted, or refused as InvalidArgument."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    request = valid()
    for message in (request, request.experiment, request.experiment.spec.task_groups[0]):
        for field in message.DESCRIPTOR.fields:
            if field.type == FieldDescriptor.TYPE_STRING and field.name != "args":
                setattr(message, field.name, text)
    request.experiment.labels[text] = text
    request.experiment.spec.task_groups[0].env.add(name=text, value=text)
    request.experiment.spec.task_groups[0].resources.cpu = text
    with contextlib.suppress(InvalidArgument):
        validate(request)
