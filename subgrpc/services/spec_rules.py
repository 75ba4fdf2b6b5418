"""Rules of a spec that concern several fields at once; the others stand beside their fields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from subgrpc.errors import FieldViolation
from subgrpc.secrets import parse_reference
from subgrpc.specrules import check_combinations
from subgrpc.v1.spec_pb2 import EnvVar, ExperimentSpec
from subgrpc.validation import shown


class SecretLookup(Protocol):
    """Says which secrets there are."""

    def exists(self, team: str, name: str) -> bool:
        """Whether there is a secret of that name."""


def check_spec(spec: ExperimentSpec, team: str, secrets: SecretLookup) -> list[FieldViolation]:
    """Returns every mistake; paths start at the spec, whose fields are valid one by one."""
    found = check_combinations(spec) + _check_secrets(spec.env, "env", team, secrets)
    for index, group in enumerate(spec.task_groups):
        found += _check_secrets(group.env, f"task_groups[{index}].env", team, secrets)
    return found


def _check_secrets(
    env: Iterable[EnvVar], path: str, team: str, secrets: SecretLookup
) -> list[FieldViolation]:
    found = []
    for index, variable in enumerate(env):
        if variable.secret:
            owner, name = parse_reference(variable.secret, team)
            if owner != team:
                text = f"{shown(variable.secret)} is another team's; a secret must be of {team}"
                found.append(FieldViolation(f"{path}[{index}].secret", text, "FOREIGN_SECRET"))
            elif not secrets.exists(owner, name):
                text = f"there is no secret teams/{owner}/secrets/{name}"
                found.append(FieldViolation(f"{path}[{index}].secret", text, "SECRET_NOT_FOUND"))
    return found
