"""Rules of a spec that concern several fields at once; the others stand beside their fields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from subgrpc.errors import FieldViolation
from subgrpc.secrets import parse_reference
from subgrpc.v1.spec_pb2 import EnvVar, ExperimentSpec, TaskGroup
from subgrpc.validation import shown
from subgrpc.workloads import role_of

RESERVED_PREFIX = "SUBGRPC_"
"""Environment variables that the platform sets."""


class SecretLookup(Protocol):
    """Says which secrets there are."""

    def exists(self, team: str, name: str) -> bool:
        """Whether there is a secret of that name."""


def check_spec(spec: ExperimentSpec, team: str, secrets: SecretLookup) -> list[FieldViolation]:
    """Returns every mistake; paths start at the spec, whose fields are valid one by one."""
    found = _check_env(spec.env, "env", team, secrets)
    roles: dict[str, int] = {}
    for index, group in enumerate(spec.task_groups):
        path = f"task_groups[{index}]"
        first = roles.setdefault(role_of(group), index)
        # The same role twice in the same spelling is found by the field's own rule.
        if first != index and spec.task_groups[first].role != group.role:
            text = f'"" means "{role_of(group)}", which is at [{first}] already'
            found.append(FieldViolation(f"{path}.role", text, "DUPLICATE"))
        found += _check_command(group, path)
        found += _check_env(group.env, f"{path}.env", team, secrets)
    return found


def _check_command(group: TaskGroup, path: str) -> list[FieldViolation]:
    if group.command and group.args:
        text = "command and args exclude each other: give a shell command or an argument vector"
        return [FieldViolation(f"{path}.args", text, "MUTUALLY_EXCLUSIVE")]
    if not group.command and not group.args:
        return [FieldViolation(f"{path}.command", "give either command or args", "REQUIRED")]
    if group.args and not group.args[0]:
        text = "the first argument is the program to run: it must not be empty"
        return [FieldViolation(f"{path}.args[0]", text, "REQUIRED")]
    return []


def _check_env(
    env: Iterable[EnvVar], path: str, team: str, secrets: SecretLookup
) -> list[FieldViolation]:
    found = []
    for index, variable in enumerate(env):
        if variable.name.startswith(RESERVED_PREFIX):
            text = f"{shown(variable.name)} starts with {RESERVED_PREFIX}: the platform's own"
            found.append(FieldViolation(f"{path}[{index}].name", text, "RESERVED"))
        if variable.secret:
            owner, name = parse_reference(variable.secret, team)
            if owner != team:
                text = f"{shown(variable.secret)} is another team's; a secret must be of {team}"
                found.append(FieldViolation(f"{path}[{index}].secret", text, "FOREIGN_SECRET"))
            elif not secrets.exists(owner, name):
                text = f"there is no secret teams/{owner}/secrets/{name}"
                found.append(FieldViolation(f"{path}[{index}].secret", text, "SECRET_NOT_FOUND"))
    return found
