"""Rules of a spec that concern several fields at once, and that need no server to be checked."""

from __future__ import annotations

from collections.abc import Iterable

from subgrpc.errors import FieldViolation
from subgrpc.names import DEFAULT_ROLE
from subgrpc.v1.spec_pb2 import EnvVar, ExperimentSpec, TaskGroup
from subgrpc.validation import shown

RESERVED_PREFIX = "SUBGRPC_"
"""Environment variables that the platform sets."""


def check_combinations(spec: ExperimentSpec) -> list[FieldViolation]:
    """Returns every mistake; paths start at the spec, whose fields are valid one by one."""
    found = _check_env(spec.env, "env")
    roles: dict[str, int] = {}
    for index, group in enumerate(spec.task_groups):
        path = f"task_groups[{index}]"
        role = group.role or DEFAULT_ROLE
        first = roles.setdefault(role, index)
        # The same role twice in the same spelling is found by the field's own rule.
        if first != index and spec.task_groups[first].role != group.role:
            text = f'"" means "{role}", which is at [{first}] already'
            found.append(FieldViolation(f"{path}.role", text, "DUPLICATE"))
        found += _check_command(group, path)
        found += _check_env(group.env, f"{path}.env")
    return found


def _check_command(group: TaskGroup, path: str) -> list[FieldViolation]:
    command, args = group.command, group.args
    if command and args:
        text = "command and args exclude each other: give a shell command or an argument vector"
        return [FieldViolation(f"{path}.args", text, "MUTUALLY_EXCLUSIVE")]
    if not command and not args:
        return [FieldViolation(f"{path}.command", "give either command or args", "REQUIRED")]
    if args and not args[0]:
        text = "the first argument is the program to run: it must not be empty"
        return [FieldViolation(f"{path}.args[0]", text, "REQUIRED")]
    return []


def _check_env(env: Iterable[EnvVar], path: str) -> list[FieldViolation]:
    found = []
    for index, variable in enumerate(env):
        if variable.name.startswith(RESERVED_PREFIX):
            text = f"{shown(variable.name)} starts with {RESERVED_PREFIX}: the platform's own"
            found.append(FieldViolation(f"{path}[{index}].name", text, "RESERVED"))
    return found
