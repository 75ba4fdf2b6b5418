"""Outputs in spec files and in requests: what is read, what is refused, what the driver gets."""

from __future__ import annotations

import pytest

from subgrpc.driver import Driver, Workload
from subgrpc.errors import InvalidArgument, InvalidSpec
from subgrpc.spec import parse_spec
from subgrpc.testing.fake import FakeBackend, FakeDriver
from subgrpc.v1.spec_pb2 import ExperimentSpec, OutputWhen
from subgrpc.v1.types_pb2 import Resources
from subgrpc.workloads import build_workload, check_abilities


def read(outputs: str) -> ExperimentSpec:
    return parse_spec(f"command: x\noutputs: {outputs}").experiment.spec


def mistakes(outputs: str) -> list[tuple[str, str]]:
    with pytest.raises(InvalidArgument) as caught:
        read(outputs)
    return [(each.field, each.reason) for each in caught.value.violations]


def test_the_whole_of_an_output() -> None:
    """Words and flags are written as people write them."""
    [found] = read(
        "[{name: model, paths: ['a/**', $SUBGRPC_OUTPUT_DIR/b], when: always, every_task: true, "
        "optional: 'true', interval: 5m, keep_last: 3, labels: {a: b}}]"
    ).outputs
    assert (found.name, list(found.paths)) == ("model", ["a/**", "$SUBGRPC_OUTPUT_DIR/b"])
    assert found.when == OutputWhen.OUTPUT_WHEN_ALWAYS
    assert (found.every_task, found.optional, found.keep_last) == (True, True, 3)
    assert found.interval.seconds == 300
    assert dict(found.labels) == {"a": "b"}


@pytest.mark.parametrize(
    ("outputs", "field", "reason"),
    [
        ("[{}]", "outputs[0].name", "REQUIRED"),
        ("[{name: Model}]", "outputs[0].name", "PATTERN"),
        ("[{name: ../x}]", "outputs[0].name", "PATTERN"),
        ("[{name: a}, {name: a}]", "outputs[1].name", "DUPLICATE"),
        ("[{name: a, role: ps}]", "outputs[0].role", "UNKNOWN_ROLE"),
        ("[{name: a, keep_last: 1}]", "outputs[0].keep_last", "REQUIRES_INTERVAL"),
        ("[{name: a, interval: 0.5s}]", "outputs[0].interval", "OUT_OF_RANGE"),
        ('[{name: a, paths: ["x\\0"]}]', "outputs[0].paths[0]", "CONTROL_CHARACTER"),
        ('[{name: a, paths: ["x\\ny"]}]', "outputs[0].paths[0]", "CONTROL_CHARACTER"),
        *(
            (f"[{{name: a, paths: ['{path}']}}]", "outputs[0].paths[0]", "FILE_PATTERN")
            for path in (
                "/etc/passwd", "../x", "a/../../x", "a/..", "$SUBGRPC_OUTPUT_DIR/../x", "a**", "",
                "$SUBGRPC_OUTPUT_DIR/", "$SUBGRPC_OUTPUT_DIR//etc", "a[bc]", "{a,b}",
            )
        ),
    ],
)  # fmt: skip
def test_mistakes(outputs: str, field: str, reason: str) -> None:
    """Each is told with its place and a reason."""
    assert (field, reason) in mistakes(outputs)


@pytest.mark.parametrize("outputs", ["[{name: a, when: never}]", "[{name: a, optional: 1}]"])
def test_words_that_are_none(outputs: str) -> None:
    """What is allowed is said."""
    with pytest.raises(InvalidArgument, match=r"must be (on_success or always|true or false)"):
        read(outputs)


@pytest.mark.parametrize(
    ("inputs", "field", "reason"),
    [
        ("[{artifact: a}]", "inputs[0].name", "REQUIRED"),
        ("[{name: a}]", "inputs[0].artifact", "REQUIRED"),
        ("[{name: a, artifact: a, model: b/1}]", "inputs[0].model", "MUTUALLY_EXCLUSIVE"),
        ("[{name: a, artifact: a}, {name: a, artifact: b}]", "inputs[1].name", "DUPLICATE"),
        ("[{name: a, artifact: ../a}]", "inputs[0].artifact", "PATTERN"),
        ("[{name: a, model: digits}]", "inputs[0].model", "PATTERN"),
        ("[{name: a, model: digits/0}]", "inputs[0].model", "PATTERN"),
        ("[{name: a/b, artifact: a}]", "inputs[0].name", "PATTERN"),
    ],
)
def test_mistakes_of_inputs(inputs: str, field: str, reason: str) -> None:
    """Each is told with its place and a reason."""
    with pytest.raises(InvalidArgument) as caught:
        parse_spec(f"command: x\ninputs: {inputs}")
    assert (field, reason) in [(each.field, each.reason) for each in caught.value.violations]


def workload_of(text: str) -> Workload:
    experiment = parse_spec(text).experiment
    experiment.name = "teams/default/experiments/x"
    return build_workload(
        experiment,
        control_plane_id="c",
        attempt=1,
        driver="local",
        default_request=Resources(),
    )


def test_what_a_driver_gets() -> None:
    """The role is filled in: the first one."""
    workload = workload_of(
        "task_groups: [{role: a, command: x}, {role: b, command: y}]\n"
        "outputs: [{name: one, when: on_success}, {name: two, role: b, when: always}]"
    )
    found = [(each.name, each.role, each.always) for each in workload.outputs]
    assert found == [("one", "a", False), ("two", "b", True)]


def test_who_can_take_outputs() -> None:
    """A driver that says so by its class, on a server with a place for artifacts."""
    able = FakeBackend().driver_class()()
    own = {name: value for name, value in vars(FakeDriver).items() if name != "__dict__"}
    other = type("Other", (Driver,), own)()
    with_output = workload_of("command: x\noutputs: [{name: a}]")
    check_abilities(with_output, able, keeps_artifacts=True)
    check_abilities(workload_of("command: x"), other, keeps_artifacts=False)
    for driver, keeps in ((able, False), (other, True)):
        with pytest.raises(InvalidSpec) as caught:
            check_abilities(with_output, driver, keeps_artifacts=keeps)
        assert caught.value.violations[0].field == "outputs"
