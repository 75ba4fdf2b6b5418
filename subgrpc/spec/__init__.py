"""Reads an experiment from a YAML or JSON file, and says everything that is wrong with it at once.

docs/spec.md is the reference. The keys are the fields of `Experiment` and `ExperimentSpec`, side by
side, and `name` for the experiment's id:

```yaml
name: digits
labels: {team: vision}
timeout: 1h30m
env:
  EPOCHS: 20
  HF_TOKEN: {secret: hf-token}
task_groups:
  - role: worker
    replicas: 2
    args: [python, train.py]
    resources: {cpu: 2, memory: 4Gi}
driver_options:
  local: {working_directory: .}
```

An experiment with one role may have `command` or `args`, `replicas` and `resources` at the top
instead of `task_groups`. Apache Submarine's ExperimentSpec is read too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from subgrpc import names
from subgrpc.errors import FieldViolation, InvalidArgument
from subgrpc.spec import own, submarine
from subgrpc.spec.durations import parse_duration
from subgrpc.spec.places import MAX_PROBLEMS, Places, Problems
from subgrpc.spec.source import MAX_FILE_BYTES, parse, read_text
from subgrpc.spec.substitution import substitute, wanted
from subgrpc.spec.tree import Node, SyntaxProblem
from subgrpc.specrules import check_combinations
from subgrpc.v1.experiment_service_pb2 import CreateExperimentRequest, Experiment
from subgrpc.v1.spec_pb2 import ExperimentSpec
from subgrpc.validation import under, validate

__all__ = ["MAX_FILE_BYTES", "Spec", "load_spec", "parse_duration", "parse_spec"]


@dataclass(frozen=True, slots=True)
class Spec:
    """What a file asks for.

    Attributes:
        experiment_id: the `name` in it; empty: the server makes one.
        experiment: display name, labels and spec.
        short: whether the role stood at the top.
        places: where in the file everything stands; None: it was no file.
    """

    experiment_id: str
    experiment: Experiment
    short: bool = False
    places: Places | None = field(default=None, compare=False, repr=False)

    def path_of(self, field: str) -> str:
        """Returns the path that a field of CreateExperimentRequest has in a spec."""
        if self.places is not None:
            return self.places.find(field)[0]
        if field == own.NAME_FIELD.name:
            return "name"
        path = field.removeprefix("experiment.").removeprefix("spec.")
        return path.removeprefix("task_groups[0].") if self.short else path

    def located(self, error: InvalidArgument) -> InvalidArgument:
        """What the server says of the request, as said of the file."""
        if not error.violations:
            return error
        found = [
            self.places.located(each)
            if self.places
            else replace(each, field=self.path_of(each.field))
            for each in error.violations
        ]
        return InvalidArgument("", found, reason=error.reason, metadata=error.metadata)


def load_spec(path: Path, *, environ: Mapping[str, str] | None = None) -> Spec:
    """Reads a file; a relative `driver_options.local.working_directory` starts at its folder.

    Args:
        path: the file; one whose name ends in `.json` is read as JSON, any other as both.
        environ: what `${env:NAME}` is read from; by default this process's environment.

    Raises:
        InvalidArgument: the file cannot be read, or with a violation for every mistake in it.
    """
    spec = parse_spec(
        read_text(path),
        is_json=path.suffix.lower() == ".json",
        source=str(path),
        environ=environ,
    )
    _resolve_working_directory(spec.experiment.spec, path)
    return spec


def parse_spec(
    text: str,
    *,
    is_json: bool = False,
    source: str = "the spec",
    environ: Mapping[str, str] | None = None,
) -> Spec:
    """Reads the text of a spec.

    Args:
        text: YAML or JSON.
        is_json: read JSON only, with its own error messages.
        source: what to call it in errors.
        environ: what `${env:NAME}` is read from; by default this process's environment.

    Raises:
        InvalidArgument: with a violation for every mistake; `place` of each says where it stands.
    """
    problems = Problems(source)
    try:
        root, findings = parse(text, is_json=is_json)
    except SyntaxProblem as error:
        place = problems.places.place(error.line, error.column)
        violation = FieldViolation("", str(error), "SPEC_SYNTAX", place)
        raise InvalidArgument(violations=[violation], reason="SPEC_SYNTAX") from error
    if not isinstance(root.value, dict) or not root.value:
        what = "must be a mapping of keys to values" if root.value else "is empty"
        text = f"{what}; the least is: command: python train.py"
        place = problems.places.place(root.line, root.column)
        violation = FieldViolation("", text, "SPEC_SYNTAX", place)
        raise InvalidArgument(violations=[violation], reason="SPEC_SYNTAX")
    for finding in findings:
        problems.add_finding(finding)
    if wanted(root, problems):
        root = substitute(root, os.environ if environ is None else environ, problems)
    request = _read(root, problems)
    uncounted = _check(request, problems)
    if problems.found:
        omitted = max(len(problems.found) - MAX_PROBLEMS, 0) + uncounted
        raise InvalidArgument(
            violations=problems.found[:MAX_PROBLEMS],
            reason="INVALID_SPEC",
            metadata={"omittedViolations": str(omitted)} if omitted > 0 else {},
        )
    return Spec(
        request.experiment_id,
        request.experiment,
        short=own.is_short(root) and not submarine.is_submarine(root),
        places=problems.places,
    )


def _read(root: Node, problems: Problems) -> CreateExperimentRequest:
    request = CreateExperimentRequest(parent=names.team_name(names.DEFAULT_TEAM))
    request.experiment.spec.SetInParent()
    form = submarine if submarine.is_submarine(root) else own
    form.read(root, request, problems)
    return request


def _check(request: CreateExperimentRequest, problems: Problems) -> int:
    """Applies the rules that the server applies, as far as they need no server.

    Returns:
        How many more mistakes there are than were noted.
    """
    omitted = 0
    found = under("experiment.spec", check_combinations(request.experiment.spec))
    try:
        validate(request)
    except InvalidArgument as error:
        found += error.violations
        omitted = int(error.metadata.get("omittedViolations", 0))
    for violation in found:
        problems.add_violation(violation)
    return omitted


def _resolve_working_directory(spec: ExperimentSpec, path: Path) -> None:
    if "local" not in spec.driver_options:
        return
    fields = spec.driver_options["local"].fields
    if "working_directory" in fields and fields["working_directory"].string_value:
        folder = os.path.expanduser(fields["working_directory"].string_value)
        # A path that is absolute already stays as it is.
        fields["working_directory"].string_value = os.path.abspath(path.parent / folder)
