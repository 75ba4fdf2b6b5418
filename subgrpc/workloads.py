"""Makes the `Workload` of an attempt: every default filled in, nothing secret."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from subgrpc import names, secrets
from subgrpc.driver import Driver, SupportsInputs, SupportsOutputs, Workload, WorkloadInput
from subgrpc.errors import FieldViolation, InvalidSpec
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentInput
from subgrpc.v1.spec_pb2 import Output, OutputWhen, TaskGroup
from subgrpc.v1.types_pb2 import Resources

DEFAULT_GRACE = timedelta(seconds=10)
"""Time between SIGTERM and SIGKILL where the spec says nothing."""
_DEFAULT_GRACE = Duration()
_DEFAULT_GRACE.FromTimedelta(DEFAULT_GRACE)


def role_of(group: TaskGroup) -> str:
    """The group's role, or the default one."""
    return group.role or names.DEFAULT_ROLE


def replicas_of(group: TaskGroup) -> int:
    """The group's number of tasks, or 1."""
    return group.replicas if group.HasField("replicas") else 1


def grace_of(experiment: Experiment) -> timedelta:
    """Time between SIGTERM and SIGKILL of the experiment's tasks."""
    if experiment.spec.HasField("termination_grace_period"):
        return experiment.spec.termination_grace_period.ToTimedelta()
    return DEFAULT_GRACE


def build_workload(
    experiment: Experiment,
    *,
    control_plane_id: str,
    attempt: int,
    driver: str,
    default_request: Resources,
) -> Workload:
    """Returns what a driver gets for one attempt of an experiment.

    Args:
        experiment: with a valid spec.
        control_plane_id: marks every object in the backend.
        attempt: the attempt's number.
        driver: the driver's name, which chooses among `driver_options`.
        default_request: what a task gets that asks for nothing.
    """
    spec = experiment.spec
    team = experiment.name.split("/", 2)[1]
    workload = Workload(
        control_plane_id=control_plane_id,
        experiment_uid=experiment.uid,
        attempt=attempt,
        experiment_name=experiment.name,
        creator=experiment.creator,
    )
    workload.labels.MergeFrom(experiment.labels)
    shared = spec.env
    for group in spec.task_groups:
        target = workload.groups.add(role=role_of(group), replicas=replicas_of(group))
        target.args.extend(group.args or ("/bin/sh", "-c", group.command))
        target.resources.CopyFrom(default_request)
        asked = group.resources
        target.resources.MergeFrom(asked)
        target.limits.CopyFrom(asked)
        literals, references = target.env, target.secret_env
        # The group's variables come last: they win.
        for key, variable in {each.name: each for each in (*shared, *group.env)}.items():
            if variable.HasField("secret"):
                owner, name = secrets.parse_reference(variable.secret, team)
                references[key] = f"teams/{owner}/secrets/{name}"
            else:
                literals[key] = variable.value
    if spec.HasField("timeout"):
        workload.timeout.CopyFrom(spec.timeout)
    asked_grace = spec.HasField("termination_grace_period")
    grace = spec.termination_grace_period if asked_grace else _DEFAULT_GRACE
    workload.termination_grace_period.CopyFrom(grace)
    for output in spec.outputs:
        _add_output(workload, output)
    workload.inputs.extend(map(input_of, experiment.inputs))
    if driver in spec.driver_options:
        workload.options.CopyFrom(spec.driver_options[driver])
    return workload


def input_of(resolved: ExperimentInput) -> WorkloadInput:
    """An input as a driver gets it."""
    return WorkloadInput(
        name=resolved.input,
        digest=resolved.digest,
        artifact=resolved.artifact,
        file_count=resolved.file_count,
        size_bytes=resolved.size_bytes,
    )


def check_abilities(workload: Workload, driver: Driver, *, keeps_artifacts: bool) -> None:
    """Checks that a cluster can do what a workload needs beyond running tasks.

    Raises:
        InvalidSpec: it cannot.
    """
    found = []
    for field, asked, able, what in (
        ("outputs", workload.outputs, isinstance(driver, SupportsOutputs), "take outputs"),
        ("inputs", workload.inputs, isinstance(driver, SupportsInputs), "give tasks inputs"),
    ):
        text = "" if keeps_artifacts else "this server keeps no artifacts"
        if not able:
            text = f"the driver {driver.name!r} of this cluster cannot {what}"
        if asked and text:
            found.append(FieldViolation(field, text, "FILES_UNSUPPORTED"))
    if found:
        raise InvalidSpec(violations=found)


def secret_references(workload: Workload) -> set[str]:
    """The names of all secrets that a workload needs, `teams/TEAM/secrets/NAME`."""
    return {name for group in workload.groups for name in group.secret_env.values()}


def _add_output(workload: Workload, output: Output) -> None:
    target = workload.outputs.add(
        name=output.name,
        paths=output.paths,
        role=output.role or workload.groups[0].role,
        every_task=output.every_task,
        always=output.when == OutputWhen.OUTPUT_WHEN_ALWAYS,
        optional=output.optional,
    )
    if output.HasField("interval"):
        target.interval.CopyFrom(output.interval)
