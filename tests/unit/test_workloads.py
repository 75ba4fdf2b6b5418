"""Workloads: what a driver gets for an experiment."""

from __future__ import annotations

from subgrpc.driver import Workload
from subgrpc.v1.experiment_service_pb2 import Experiment
from subgrpc.v1.types_pb2 import Resources
from subgrpc.workloads import build_workload, secret_references


def build(experiment: Experiment, driver: str = "local") -> Workload:
    experiment.name = "teams/default/experiments/e"
    experiment.uid = "u" * 26
    return build_workload(
        experiment,
        control_plane_id="cp",
        attempt=3,
        driver=driver,
        default_request=Resources(cpu="100m", memory="128Mi"),
    )


def test_defaults_are_filled_in() -> None:
    """Role, replicas, resources and grace period are there though the spec is silent."""
    experiment = Experiment()
    experiment.spec.task_groups.add(command="exit 3").resources.cpu = "2"
    group = build(experiment).groups[0]
    assert (group.role, group.replicas) == ("main", 1)
    assert list(group.args) == ["/bin/sh", "-c", "exit 3"]
    assert (group.resources.cpu, group.resources.memory) == ("2", "128Mi")
    assert (group.limits.cpu, group.limits.memory) == ("2", "")
    assert build(experiment).termination_grace_period.seconds == 10


def test_arguments_are_not_read_by_a_shell() -> None:
    """`args` reach the driver as they are."""
    experiment = Experiment()
    experiment.spec.task_groups.add(args=["echo", "$HOME", "a b"])
    assert list(build(experiment).groups[0].args) == ["echo", "$HOME", "a b"]


def test_a_roles_variable_wins_whichever_kind_it_is() -> None:
    """A literal of the role replaces a common secret of that name, and the other way round."""
    experiment = Experiment()
    experiment.spec.env.add(name="A", secret="a")
    experiment.spec.env.add(name="B", value="common")
    group = experiment.spec.task_groups.add(command="env")
    group.env.add(name="A", value="literal")
    group.env.add(name="B", secret="teams/default/secrets/b")
    built = build(experiment)
    assert dict(built.groups[0].env) == {"A": "literal"}
    assert dict(built.groups[0].secret_env) == {"B": "teams/default/secrets/b"}
    assert secret_references(built) == {"teams/default/secrets/b"}


def test_only_the_drivers_own_options_are_handed_over() -> None:
    """Options for another driver are not its business."""
    experiment = Experiment()
    experiment.spec.task_groups.add(command="true")
    experiment.spec.driver_options["local"].update({"working_directory": "/tmp"})
    assert build(experiment).options["working_directory"] == "/tmp"
    assert not build(experiment, "docker").HasField("options")
