"""Apache Submarine's ExperimentSpec: what its users have can be run, or they are told why not."""

from __future__ import annotations

import json

import pytest

from subgrpc.errors import InvalidArgument
from subgrpc.spec import parse_spec

SPEC = """\
meta:
  name: tf-mnist
  namespace: default
  framework: TensorFlow
  cmd: python /var/mnist.py --log_dir=/train/log
  envVars:
    ENV_1: ENV1
    SHARED: common
  tags: [mnist, vision]
spec:
  Ps:
    name: tensorflow
    replicas: 1
    resources: "cpu=1,memory=1024M"
  Worker:
    replicas: 2
    resources: cpu=500m, memory=20Gi,nvidia.com/gpu=1
    cmd: python worker.py | tee log
    envVars: {SHARED: 0123}
"""


def mistakes(text: str) -> list[str]:
    """Every mistake as LINE:COLUMN PATH REASON."""
    with pytest.raises(InvalidArgument) as caught:
        parse_spec(text, source="f")
    return [
        f"{each.place.removeprefix('f:')} {each.field} {each.reason}"
        for each in caught.value.violations
    ]


def test_the_role_map_becomes_task_groups() -> None:
    """Names, commands, variables and resources, with a role's own before those of `meta`."""
    spec = parse_spec(SPEC)
    assert spec.experiment_id == "tf-mnist"
    assert dict(spec.experiment.labels) == {"framework": "tensorflow", "mnist": "", "vision": ""}
    server, worker = spec.experiment.spec.task_groups
    assert (server.role, server.replicas, server.command) == (
        "ps",
        1,
        "python /var/mnist.py --log_dir=/train/log",
    )
    assert (server.resources.cpu, server.resources.memory, server.resources.gpus) == (
        "1",
        "1024M",
        0,
    )
    assert (worker.role, worker.replicas, worker.command) == (
        "worker",
        2,
        "python worker.py | tee log",
    )
    assert (worker.resources.cpu, worker.resources.memory, worker.resources.gpus) == (
        "500m",
        "20Gi",
        1,
    )
    assert [(each.name, each.value) for each in spec.experiment.spec.env] == [
        ("ENV_1", "ENV1"),
        ("SHARED", "common"),
    ]
    assert [(each.name, each.value) for each in worker.env] == [("SHARED", "0123")]


def test_what_submarine_itself_prints_is_read() -> None:
    """JSON with null for everything that is not set."""
    task = {"name": None, "image": None, "cmd": None, "envVars": None, "replicas": 1}
    document = {
        "meta": {"name": "a", "namespace": "default", "framework": None, "cmd": "x"}
        | dict.fromkeys(("envVars", "tags", "experimentId")),
        "environment": None,
        "spec": {"Master": task | {"resources": "cpu=1,memory=1G"}},
        "experimentHandlerSpec": None,
        "code": None,
    }
    (group,) = parse_spec(json.dumps(document)).experiment.spec.task_groups
    assert (group.role, group.command, group.resources.memory) == ("master", "x", "1G")


@pytest.mark.parametrize(
    ("change", "wanted", "told"),
    [
        (("spec:", "environment: {image: a/b}\nspec:"), "10:1 environment UNSUPPORTED", "later"),
        (("spec:", "code: {syncMode: git}\nspec:"), "10:1 code UNSUPPORTED", "comes later"),
        (("    name: tensorflow", "    image: a"), "12:5 spec.Ps.image UNSUPPORTED", "come later"),
        (("namespace: default", "namespace: ml"), "3:14 meta.namespace UNSUPPORTED", "teams"),
        (("TensorFlow", "Caffe"), "4:14 meta.framework INVALID_VALUE", "tensorflow, pytorch"),
        (("tf-mnist", "TF"), "2:9 meta.name PATTERN", "lower-case"),
        (("  Worker:", "  ps:"), "15:3 spec.ps DUPLICATE", "at [0] already"),
        (("  Worker:", "  My_Role:"), "15:3 spec.My_Role PATTERN", "lower-case"),
        (("replicas: 2", "replicas: 0"), "16:15 spec.Worker.replicas OUT_OF_RANGE", "1 to 1000"),
        (("replicas: 2", "replica: 2"), "16:5 spec.Worker.replica UNKNOWN_FIELD", "'replicas'"),
        (("envVars: {", "env: {"), "19:5 spec.Worker.env UNKNOWN_FIELD", "known are"),
        (("0123", "[1]"), "19:23 spec.Worker.envVars.SHARED INVALID_VALUE", "a value"),
        (("1024M", "1024X"), "14:16 spec.Ps.resources.memory QUANTITY", "512Mi"),
        (("cpu=1,", "cpu,"), "14:16 spec.Ps.resources INVALID_VALUE", "write it as"),
        (("cpu=1,", "cpus=1,"), "14:16 spec.Ps.resources UNKNOWN_FIELD", "did you mean 'cpu'"),
        (("cpu=1,", "memory=1,"), "14:16 spec.Ps.resources DUPLICATE_KEY", "twice"),
        (("[mnist, vision]", "[a, a]"), "9:13 meta.tags[1] DUPLICATE", "already"),
        (("[mnist, vision]", "[a b]"), "9:10 meta.tags[0] PATTERN", "letters"),
        (("  name: tf-mnist", "  nam: a"), "2:3 meta.nam UNKNOWN_FIELD", "did you mean 'name'"),
        (("  cmd: python /var/mnist.py", "  cmdx: a"), "12:5 spec.Ps REQUIRED", "has no cmd"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(change: tuple[str, str], wanted: str, told: str) -> None:
    """In Submarine's own words for things; what comes later says so."""
    text = SPEC.replace(*change, 1)
    assert wanted in mistakes(text)
    with pytest.raises(InvalidArgument, match="(?s)" + told.replace("[", "\\[")):
        parse_spec(text)


@pytest.mark.parametrize(
    "text", ["meta: {name: a}", "meta: {cmd: x}\nspec: {}", "meta: 3\nspec: []"]
)
def test_without_roles_it_says_how_to_give_one(text: str) -> None:
    """Instead of running nothing."""
    with pytest.raises(InvalidArgument, match="names no role"):
        parse_spec(text)


def test_mistakes_in_one_text_of_resources_are_told_together() -> None:
    """Each with the resource that it is about."""
    text = SPEC.replace("cpu=1,memory=1024M", "cpu=x,memory=y,disk=1")
    assert [each.split()[1] for each in mistakes(text)] == [
        "spec.Ps.resources",
        "spec.Ps.resources.cpu",
        "spec.Ps.resources.memory",
    ]
