"""Rules of a spec that concern several fields at once, and that need no server to be checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from subgrpc.errors import FieldViolation
from subgrpc.names import DEFAULT_ROLE
from subgrpc.v1.spec_pb2 import EnvVar, ExperimentSpec, Input, Output, TaskGroup
from subgrpc.validation import shown, under

RESERVED_PREFIX = "SUBGRPC_"
"""Environment variables that the platform sets."""
OUTPUT_DIR = "$SUBGRPC_OUTPUT_DIR/"
"""Patterns of files that begin so are those of a task's own output folder."""


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
    for index, item in enumerate(spec.inputs):
        found += under(f"inputs[{index}]", _check_input(item))
    for index, output in enumerate(spec.outputs):
        found += under(f"outputs[{index}]", _check_output(output, roles))
    return found


def pattern_problem(pattern: str) -> str:
    """What is wrong with a pattern of files (`Output.paths`); empty: nothing."""
    inner = pattern.removeprefix(OUTPUT_DIR)
    parts = inner.split("/")
    if not inner or "\0" in inner:
        return "names no files"
    if inner.startswith("/"):
        return f"must be relative to the working directory, or begin with {OUTPUT_DIR}"
    if ".." in parts:
        return "must not lead out of its folder by '..'"
    if any("**" in part and part != "**" for part in parts):
        return "has '**' beside other characters: it stands for whole folders, as in 'a/**/b'"
    if "[" in inner or "{" in inner:
        return "may hold the wildcards * ? ** only"
    return ""


def _check_input(item: Input) -> list[FieldViolation]:
    if item.artifact and item.model:
        text = "artifact and model exclude each other: an input is one of them"
        return [FieldViolation("model", text, "MUTUALLY_EXCLUSIVE")]
    if not (item.artifact or item.model):
        return [FieldViolation("artifact", "give either artifact or model", "REQUIRED")]
    return []


def _check_output(output: Output, roles: Mapping[str, int]) -> list[FieldViolation]:
    found = []
    if output.role and output.role not in roles:
        text = f"there is no role {shown(output.role)}; roles are {', '.join(roles)}"
        found.append(FieldViolation("role", text, "UNKNOWN_ROLE"))
    for index, pattern in enumerate(output.paths):
        problem = pattern_problem(pattern)
        if problem:
            text = f"{shown(pattern)} {problem}"
            found.append(FieldViolation(f"paths[{index}]", text, "FILE_PATTERN"))
    if output.keep_last and not output.HasField("interval"):
        text = "is for checkpoints: give an interval too"
        found.append(FieldViolation("keep_last", text, "REQUIRES_INTERVAL"))
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
