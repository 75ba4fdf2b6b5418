"""Reads an experiment from a YAML or JSON file.

The keys are the fields of `Experiment` and `ExperimentSpec`, side by side, and `name` for the
experiment's id:

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
instead of `task_groups`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from subgrpc.errors import InvalidArgument
from subgrpc.spec.durations import parse_duration
from subgrpc.spec.fields import Problems, find_field, set_field, unknown
from subgrpc.spec.tree import Node, SyntaxProblem, parse
from subgrpc.v1.experiment_service_pb2 import Experiment
from subgrpc.v1.spec_pb2 import ExperimentSpec, TaskGroup

__all__ = ["MAX_FILE_BYTES", "Spec", "load_spec", "parse_duration", "parse_spec"]

MAX_FILE_BYTES = 1 << 20
"""A spec is at most 256 KiB when serialised; its text may be somewhat longer."""

_TOP_FIELDS = [Experiment.DESCRIPTOR.fields_by_name[each] for each in ("display_name", "labels")]
_SPEC_FIELDS = list(ExperimentSpec.DESCRIPTOR.fields)
_SHORT_FIELDS = [
    TaskGroup.DESCRIPTOR.fields_by_name[each]
    for each in ("command", "args", "replicas", "resources")
]


@dataclass(frozen=True, slots=True)
class Spec:
    """What a file asks for.

    Attributes:
        experiment_id: the `name` in it; empty: the server makes one.
        experiment: display name, labels and spec.
        short: whether the role stood at the top of the file.
    """

    experiment_id: str
    experiment: Experiment
    short: bool = False

    def path_of(self, field: str) -> str:
        """Returns where in the file a field of CreateExperimentRequest stands."""
        if field == "experiment_id":
            return "name"
        path = field.removeprefix("experiment.").removeprefix("spec.")
        return path.removeprefix("task_groups[0].") if self.short else path


def load_spec(path: Path) -> Spec:
    """Reads a file; a relative `driver_options.local.working_directory` starts at its folder.

    Raises:
        InvalidArgument: the file cannot be read, or with a violation for every mistake in it.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise InvalidArgument(f"{path} is no spec: it has more than {MAX_FILE_BYTES >> 20} MiB")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InvalidArgument(f"{path} is no spec: line {line} is not UTF-8") from error
    spec = parse_spec(text, is_json=path.suffix.lower() == ".json", source=str(path))
    _resolve_working_directory(spec.experiment.spec, path)
    return spec


def parse_spec(text: str, *, is_json: bool = False, source: str = "the spec") -> Spec:
    """Reads the text of a spec.

    Args:
        text: YAML or JSON.
        is_json: read JSON only, with its own error messages.
        source: what to call it in errors.

    Raises:
        InvalidArgument: with a violation for every mistake.
    """
    try:
        # JSON is nearly YAML, which does not allow tabs.
        root = parse(text, is_json=is_json or _is_json(text))
    except SyntaxProblem as error:
        place = f":{error.line}" if error.line else ""
        place += f":{error.column}" if error.line and error.column else ""
        raise InvalidArgument(f"{source}{place}: {error}", reason="SPEC_SYNTAX") from error
    if not isinstance(root.value, dict) or not root.value:
        text = "must be a mapping of keys to values" if root.value else "is empty"
        raise InvalidArgument(f"{source} {text}; the least is: command: python train.py")
    problems = Problems()
    spec = _read(root, problems)
    if problems.found:
        raise InvalidArgument(violations=problems.found, reason="INVALID_SPEC")
    return spec


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        parse(text, is_json=True)
    except SyntaxProblem:
        return False
    return True


def _read(root: Node, problems: Problems) -> Spec:
    experiment = Experiment()
    short = "task_groups" not in root.value and "taskGroups" not in root.value
    group = experiment.spec.task_groups.add() if short else TaskGroup()
    experiment_id = ""
    for key, node in root.value.items():
        if key == "name":
            experiment_id = _name(node, problems)
        elif field := find_field(_TOP_FIELDS, key):
            set_field(experiment, field, node, key, problems)
        elif field := find_field(_SPEC_FIELDS, key):
            set_field(experiment.spec, field, node, key, problems)
        elif not (field := find_field(_SHORT_FIELDS, key)):
            problems.add(key, node, unknown(key, _known(short)), "UNKNOWN_FIELD")
        elif not short:
            text = "belongs into a task group: task_groups stands beside it"
            problems.add(key, node, text, "CONFLICT")
        else:
            set_field(group, field, node, key, problems)
    if short and not (group.command or group.args or problems.found):
        text = "is missing: give command, args or task_groups"
        problems.add("command", root, text, "REQUIRED")
    return Spec(experiment_id, experiment, short)


def _name(node: Node, problems: Problems) -> str:
    if isinstance(node.value, dict | list):
        problems.add("name", node, "must be one word")
    return node.text


def _known(short: bool) -> list[str]:
    fields = [*_TOP_FIELDS, *_SPEC_FIELDS, *(_SHORT_FIELDS if short else [])]
    return ["name", *(each.name for each in fields)]


def _resolve_working_directory(spec: ExperimentSpec, path: Path) -> None:
    if "local" not in spec.driver_options:
        return
    fields = spec.driver_options["local"].fields
    if "working_directory" in fields and fields["working_directory"].string_value:
        folder = os.path.expanduser(fields["working_directory"].string_value)
        # A path that is absolute already stays as it is.
        fields["working_directory"].string_value = os.path.abspath(path.parent / folder)
