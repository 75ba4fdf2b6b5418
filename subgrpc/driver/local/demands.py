"""What a workload's tasks need, and whether this host can ever run it."""

from __future__ import annotations

import re

from subgrpc.agent.taking import OUTPUT_DIR as _OUTPUT_DIR
from subgrpc.driver import TaskKey, Workload, WorkloadGroup
from subgrpc.driver.local.admission import Demand, total
from subgrpc.driver.local.host import Host
from subgrpc.driver.local.options import check_workload_options
from subgrpc.errors import FieldViolation, InvalidSpec
from subgrpc.quantities import format_cpu, parse_bytes, parse_cpu, show_bytes
from subgrpc.v1.types_pb2 import Resources

DEFAULT_REQUEST = Resources(cpu="100m", memory="128Mi")
"""What a task is given that asks for nothing: small, so that a laptop runs a handful at once."""

_ROLE = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_OUTPUT = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_BREAK = re.compile(r"[\0\n]")
_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


def is_uid(text: str) -> bool:
    """Whether a text can be an experiment's uid, and so the name of a folder."""
    return _UID.fullmatch(text) is not None


def demand_of(group: WorkloadGroup) -> Demand:
    """What each task of a role needs.

    Raises:
        ValueError: a quantity cannot be read.
    """
    asked = group.resources
    return Demand(
        parse_cpu(asked.cpu or DEFAULT_REQUEST.cpu),
        parse_bytes(asked.memory or DEFAULT_REQUEST.memory),
        asked.gpus,
    )


def memory_limit(group: WorkloadGroup) -> int:
    """The limit in bytes of each task of a role; 0: none.

    Raises:
        ValueError: the quantity cannot be read.
    """
    return parse_bytes(group.limits.memory) if group.limits.memory else 0


def task_demands(workload: Workload) -> dict[TaskKey, Demand]:
    """What every task needs."""
    return {
        TaskKey(group.role, index): demand_of(group)
        for group in workload.groups
        for index in range(group.replicas)
    }


def check(workload: Workload, host: Host) -> None:
    """Checks that this host can run a workload, when nothing else runs.

    Raises:
        InvalidSpec: it never can; every violation with its field path.
    """
    violations = check_workload_options(workload.options)
    if not is_uid(workload.experiment_uid):
        text = f"{workload.experiment_uid!r} is not an experiment's uid"
        violations.append(FieldViolation("experiment_uid", text))
    if not workload.groups:
        violations.append(FieldViolation("groups", "a workload has at least one group", "REQUIRED"))
    seen: set[str] = set()
    demands = []
    for number, group in enumerate(workload.groups):
        path = f"groups[{number}]"
        if not _ROLE.fullmatch(group.role) or group.role in seen:
            text = f"{group.role!r} is not a role's name, or is used twice"
            violations.append(FieldViolation(f"{path}.role", text))
        seen.add(group.role)
        violations += _check_process(group, path)
        try:
            demand = demand_of(group)
            memory_limit(group)
        except ValueError as error:
            violations.append(FieldViolation(f"{path}.resources", str(error)))
            continue
        violations += _check_demand(demand, group.replicas, host, path)
        demands.append(total([demand] * group.replicas))
    violations += _check_outputs(workload) + _check_inputs(workload)
    if not violations and not total(demands).fits(_capacity(host)):
        together = total(demands)
        text = (
            f"all tasks together need {_show(together)}, and start together; "
            f"this host has {_show(_capacity(host))}"
        )
        violations.append(FieldViolation("groups", text, "EXCEEDS_CAPACITY"))
    if violations:
        raise InvalidSpec(violations=violations)


def _check_inputs(workload: Workload) -> list[FieldViolation]:
    names = [each.name for each in workload.inputs]
    return [
        FieldViolation(f"inputs[{number}].name", f"{name!r} is no input's name, or is used twice")
        for number, name in enumerate(names)
        if not _OUTPUT.fullmatch(name) or name in names[:number]
    ]


def _check_outputs(workload: Workload) -> list[FieldViolation]:
    violations = []
    names: set[str] = set()
    roles = {group.role for group in workload.groups}
    for number, output in enumerate(workload.outputs):
        path = f"outputs[{number}]"
        if not _OUTPUT.fullmatch(output.name) or output.name in names:
            text = f"{output.name!r} is not an output's name, or is used twice"
            violations.append(FieldViolation(f"{path}.name", text))
        names.add(output.name)
        if output.role not in roles:
            text = f"there is no role {output.role!r}"
            violations.append(FieldViolation(f"{path}.role", text))
        for index, pattern in enumerate(output.paths):
            inner = pattern.removeprefix(_OUTPUT_DIR.decode())
            if not inner or inner[0] == "/" or ".." in inner.split("/") or _BREAK.search(inner):
                text = f"{pattern!r} is not a pattern of files within the task's folders"
                violations.append(FieldViolation(f"{path}.paths[{index}]", text))
    return violations


def _check_process(group: WorkloadGroup, path: str) -> list[FieldViolation]:
    violations = []
    if not group.replicas:
        violations.append(FieldViolation(f"{path}.replicas", "at least 1 is needed", "REQUIRED"))
    if not group.args or not group.args[0]:
        violations.append(FieldViolation(f"{path}.args", "there is no command", "REQUIRED"))
    if any("\0" in arg for arg in group.args):
        text = "an argument cannot hold a NUL character"
        violations.append(FieldViolation(f"{path}.args", text))
    for name, value in group.env.items():
        if not name or "=" in name or "\0" in name + value:
            text = "a variable's name holds no '=', and neither name nor value a NUL character"
            violations.append(FieldViolation(f"{path}.env[{name!r}]", text))
    return violations


def _check_demand(demand: Demand, replicas: int, host: Host, path: str) -> list[FieldViolation]:
    """What each resource of a role lacks, for one task or for all of its tasks."""
    capacity = _capacity(host)
    violations = []
    for name, need, has, show in (
        ("cpu", demand.cpu, capacity.cpu, format_cpu),
        ("memory", demand.memory, capacity.memory, show_bytes),
        ("gpus", demand.gpus, capacity.gpus, str),
    ):
        if need * replicas <= has:
            continue
        what = f"{show(need)} {name}"
        if need <= has:
            what = f"{replicas} tasks of {what} each, {show(need * replicas)} in all,"
        text = f"{what} is more than this host has: {show(has)}"
        violations.append(FieldViolation(f"{path}.resources.{name}", text, "EXCEEDS_CAPACITY"))
    return violations


def _capacity(host: Host) -> Demand:
    return Demand(host.cpu, host.memory, len(host.gpus))


def _show(demand: Demand) -> str:
    parts = [f"{format_cpu(demand.cpu)} cpu", f"{show_bytes(demand.memory)} memory"]
    if demand.gpus:
        parts.append(f"{demand.gpus} gpus")
    return ", ".join(parts)
