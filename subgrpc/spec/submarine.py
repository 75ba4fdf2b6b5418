"""Reads Apache Submarine's ExperimentSpec: `meta`, and `spec` with a task for each role.

Differences that are meant: a command is read by a shell, and a role's variables are added to those
of `meta` instead of replacing all of them. Both are what Submarine's users expected of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from subgrpc.spec.fields import fill_env, is_mapping, scalar, set_field
from subgrpc.spec.places import Problems, Spot, unknown
from subgrpc.spec.substitution import KEY
from subgrpc.spec.tree import Node
from subgrpc.v1.experiment_service_pb2 import CreateExperimentRequest
from subgrpc.v1.spec_pb2 import TaskGroup
from subgrpc.v1.types_pb2 import Resources
from subgrpc.validation import subscript

_GROUP = TaskGroup.DESCRIPTOR.fields_by_name
_TEXT = _GROUP["command"]
_FRAMEWORKS = ("tensorflow", "pytorch", "xgboost")
_RESOURCES = {"cpu": "cpu", "memory": "memory", "nvidia.com/gpu": "gpus"}
_ENVIRONMENTS = (
    "environments and images come later: what runs is what is installed where the cluster runs it; "
    "leave this out"
)
_ROOT_REFUSED = {
    "environment": _ENVIRONMENTS,
    "code": "code synchronisation comes later: put the code where the cluster can read it, and "
    "leave this out",
    "experimentHandlerSpec": "experiment handlers are not supported: leave this out",
}
_META_REFUSED = {"experimentId": "the server makes the experiment's ids: leave this out"}


def is_submarine(root: Node) -> bool:
    """Whether a document is one of Submarine's: our own has neither `meta` nor `spec`."""
    spec = root.items.get("spec")
    ours = spec is not None and bool({"task_groups", "taskGroups"} & spec.items.keys())
    return "meta" in root.items or (spec is not None and not ours)


def read(root: Node, request: CreateExperimentRequest, problems: Problems) -> None:
    """Fills a request from Submarine's document."""
    top = Spot(root, "", "experiment")
    for field in ("experiment", "experiment.spec"):
        problems.places.enter(top, field)
    problems.places.enter(Spot(root, "", ""))
    problems.places.enter(Spot(root, "meta.name", "experiment_id"))
    _refuse(top, _ROOT_REFUSED, ["meta", "spec", KEY, *_ROOT_REFUSED], problems)
    meta = _mapping(top, "meta", problems)
    roles = _mapping(top, "spec", problems)
    command = _read_meta(meta, request, problems) if meta else None
    if roles is None or not roles.node.items:
        text = "names no role: give spec: {Worker: {replicas: 1, cmd: …}}"
        problems.add(roles or top, text, "REQUIRED")
        return
    problems.places.enter(roles, "experiment.spec.task_groups")
    for role in roles.node.items:
        index = len(request.experiment.spec.task_groups)
        spot = roles.child(role, "")
        spot = Spot(spot.node, spot.path, f"experiment.spec.task_groups[{index}]", spot.key)
        group = request.experiment.spec.task_groups.add(role=role.lower())
        _read_role(spot, group, command, problems)


def _mapping(top: Spot, key: str, problems: Problems) -> Spot | None:
    """The mapping of a key; None if there is none."""
    if top.node.items.get(key) is None or top.node.items[key].value is None:
        return None
    spot = top.child(key, f".{key}")
    return spot if is_mapping(spot, problems) else None


def _refuse(
    spot: Spot, refused: Mapping[str, str], known: Iterable[str], problems: Problems
) -> None:
    """Notes keys that are unknown, and those that we know and cannot do."""
    for key, node in spot.node.items.items():
        child = spot.child(key, f".{key}")
        if key in refused:
            # Submarine writes every key that it knows, with null for those without a value.
            if node.value not in (None, {}, ""):
                problems.add_key(child, refused[key], "UNSUPPORTED")
        elif key not in known:
            problems.add_key(child, unknown(key, [*known, *refused]), "UNKNOWN_FIELD")


def _read_meta(meta: Spot, request: CreateExperimentRequest, problems: Problems) -> Spot | None:
    """Reads `meta`; returns the command of roles that have none of their own."""
    known = ["name", "namespace", "framework", "cmd", "envVars", "tags"]
    _refuse(meta, _META_REFUSED, known, problems)
    readers: dict[str, Callable[[Spot], None]] = {
        "name": lambda spot: _read_name(spot, request, problems),
        "namespace": lambda spot: _read_namespace(spot, problems),
        "framework": lambda spot: _read_framework(spot, request, problems),
        "envVars": lambda spot: _read_env(spot, request.experiment.spec.env, problems),
        "tags": lambda spot: _read_tags(spot, request, problems),
    }
    fields = {"name": "experiment_id", "envVars": "experiment.spec.env"}
    for key, read_key in readers.items():
        node = meta.node.items.get(key)
        if node is not None and node.value is not None:
            child = meta.child(key, "")
            read_key(Spot(node, child.path, fields.get(key, ""), child.key))
    command = meta.node.items.get("cmd")
    return None if command is None or command.value is None else meta.child("cmd", ".cmd")


def _read_name(spot: Spot, request: CreateExperimentRequest, problems: Problems) -> None:
    problems.places.enter(spot)
    request.experiment_id = scalar(_TEXT, spot, problems) or ""


def _read_namespace(spot: Spot, problems: Problems) -> None:
    if spot.node.text != "default":
        text = f"must be 'default', not {spot.node.kind}: teams take the place of namespaces"
        problems.add(spot, text, "UNSUPPORTED")


def _read_framework(spot: Spot, request: CreateExperimentRequest, problems: Problems) -> None:
    found = spot.node.text.lower()
    if found not in _FRAMEWORKS:
        text = f"must be one of {', '.join(_FRAMEWORKS)}, not {spot.node.kind}"
        problems.add(spot, text)
        return
    request.experiment.labels["framework"] = found


def _read_env(spot: Spot, target: Any, problems: Problems) -> None:
    problems.places.enter(spot)
    if is_mapping(spot, problems):
        fill_env(target, spot, problems, secrets=False)


def _read_tags(spot: Spot, request: CreateExperimentRequest, problems: Problems) -> None:
    if not isinstance(spot.node.value, list):
        problems.add(spot, f"must be a list, not {spot.node.kind}")
        return
    for position in range(len(spot.node.value)):
        tag = spot.item(position, position)
        key = scalar(_TEXT, tag, problems)
        if key is None:
            continue
        if key in request.experiment.labels:
            problems.add(tag, f"{key!r} is a label of the experiment already", "DUPLICATE")
            continue
        problems.places.enter(tag, f"experiment.labels{subscript(key)}")
        request.experiment.labels[key] = ""


def _read_role(spot: Spot, group: TaskGroup, common: Spot | None, problems: Problems) -> None:
    problems.places.enter(spot)
    problems.places.enter(spot.at_key(), f"{spot.field}.role")
    tasks = spot.node.items
    if spot.node.value is not None and not is_mapping(spot, problems):
        return
    # A task's `name` never meant anything.
    known = ["replicas", "resources", "name", "cmd", "envVars"]
    _refuse(spot, {"image": _ENVIRONMENTS}, known, problems)
    problems.places.enter(spot, f"{spot.field}.command")
    if tasks.get("cmd") is not None and tasks["cmd"].value is not None:
        set_field(group, _TEXT, spot.child("cmd", ".command"), problems)
    elif common is not None:
        field = f"{spot.field}.command"
        set_field(group, _TEXT, Spot(common.node, common.path, field, common.key), problems)
    else:
        problems.add(spot, "has no cmd, nor has meta", "REQUIRED")
    if "replicas" in tasks:
        set_field(group, _GROUP["replicas"], spot.child("replicas", ".replicas"), problems)
    if tasks.get("envVars") is not None and tasks["envVars"].value is not None:
        _read_env(spot.child("envVars", ".env"), group.env, problems)
    if tasks.get("resources") is not None and tasks["resources"].value is not None:
        _read_resources(spot.child("resources", ".resources"), group.resources, problems)


def _read_resources(spot: Spot, target: Resources, problems: Problems) -> None:
    """Reads "cpu=1,memory=1G,nvidia.com/gpu=1"."""
    problems.places.enter(spot)
    if scalar(_TEXT, spot, problems) is None:
        return
    seen: set[str] = set()
    for part in filter(None, (each.strip() for each in spot.node.text.split(","))):
        key, equals, value = (each.strip() for each in part.partition("="))
        if not equals or not value:
            text = f'has {part!r}; write it as "cpu=1,memory=1G,nvidia.com/gpu=1"'
            problems.add(spot, text)
        elif key not in _RESOURCES:
            problems.add(spot, f"has {key!r}, which {unknown(key, _RESOURCES)}", "UNKNOWN_FIELD")
        elif key in seen:
            problems.add(spot, f"has {key!r} twice", "DUPLICATE_KEY")
        else:
            seen.add(key)
            field: FieldDescriptor = Resources.DESCRIPTOR.fields_by_name[_RESOURCES[key]]
            # The quantity stands where the text does.
            node = Node(value, value, spot.node.line, spot.node.column)
            part_of = Spot(node, f"{spot.path}.{key}", f"{spot.field}.{field.name}")
            problems.places.enter(part_of)
            set_field(target, field, part_of, problems)
