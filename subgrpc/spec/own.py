"""Reads our own form: the fields of Experiment and ExperimentSpec side by side, and `name`."""

from __future__ import annotations

from google.protobuf.descriptor import FieldDescriptor

from subgrpc.spec.fields import find_field, first_spelling, scalar, set_field
from subgrpc.spec.places import Problems, Spot, unknown
from subgrpc.spec.substitution import KEY
from subgrpc.spec.tree import Node
from subgrpc.v1.experiment_service_pb2 import CreateExperimentRequest, Experiment
from subgrpc.v1.spec_pb2 import ExperimentSpec, TaskGroup

NAME_FIELD = CreateExperimentRequest.DESCRIPTOR.fields_by_name["experiment_id"]
TOP_FIELDS = [Experiment.DESCRIPTOR.fields_by_name[each] for each in ("display_name", "labels")]
SPEC_FIELDS = list(ExperimentSpec.DESCRIPTOR.fields)
SHORT_FIELDS = [
    TaskGroup.DESCRIPTOR.fields_by_name[each]
    for each in ("command", "args", "replicas", "resources")
]
"""What a task group has that may stand at the top; `env` there is the experiment's."""
EXTENSION = "x-"
"""Top-level keys that start so are not read: they are for what anchors (&) name."""
_API_KEYS = frozenset({"spec", "uid", "etag", "state", "creator", "create_time", "createTime"})


def is_short(root: Node) -> bool:
    """Whether the one role stands at the top."""
    return not {"task_groups", "taskGroups"} & root.items.keys()


def read(root: Node, request: CreateExperimentRequest, problems: Problems) -> None:
    """Fills a request from a document."""
    _Reader(root, request, problems).read()


class _Reader:
    def __init__(self, root: Node, request: CreateExperimentRequest, problems: Problems) -> None:
        self._request = request
        self._problems = problems
        self._top = Spot(root, "", "experiment")
        self._spec = Spot(root, "", "experiment.spec")
        self._group = Spot(root, "", "experiment.spec.task_groups[0]")
        self._short = is_short(root)
        self._seen: dict[str, str] = {}

    def read(self) -> None:
        places = self._problems.places
        places.enter(Spot(self._top.node, "", ""))
        places.enter(Spot(self._top.node, "name", NAME_FIELD.name))
        places.enter(self._top)
        places.enter(self._spec)
        if self._short:
            places.enter(self._group)
            self._request.experiment.spec.task_groups.add()
        for key in self._top.node.items:
            self._read_key(key)

    def _read_key(self, key: str) -> None:
        experiment = self._request.experiment
        if key == KEY or key.startswith(EXTENSION):
            return
        if key == "name":
            self._read_name()
        elif field := find_field(TOP_FIELDS, key):
            self._set(experiment, field, self._top, key)
        elif field := find_field(SPEC_FIELDS, key):
            self._set(experiment.spec, field, self._spec, key)
        elif field := find_field(SHORT_FIELDS, key):
            self._read_short(field, key)
        else:
            text = unknown(key, self._known())
            if key in _API_KEYS:
                text = (
                    f"is a field of the API; here the fields of its spec stand at the top; {text}"
                )
            self._problems.add_key(self._top.child(key, f".{key}"), text, "UNKNOWN_FIELD")

    def _read_name(self) -> None:
        child = self._top.child("name", "")
        spot = Spot(child.node, child.path, NAME_FIELD.name, child.key)
        self._problems.places.enter(spot)
        if spot.node.value is not None:
            self._request.experiment_id = scalar(NAME_FIELD, spot, self._problems) or ""

    def _read_short(self, field: FieldDescriptor, key: str) -> None:
        if self._short:
            self._set(self._request.experiment.spec.task_groups[0], field, self._group, key)
            return
        text = "belongs into a task group: task_groups stands beside it"
        self._problems.add_key(self._top.child(key, f".{key}"), text, "CONFLICT")

    def _set(
        self,
        message: Experiment | ExperimentSpec | TaskGroup,
        field: FieldDescriptor,
        parent: Spot,
        key: str,
    ) -> None:
        if first_spelling(self._seen, field, key, parent, self._problems):
            set_field(message, field, parent.child(key, f".{field.name}"), self._problems)

    def _known(self) -> list[str]:
        fields = [*TOP_FIELDS, *SPEC_FIELDS, *(SHORT_FIELDS if self._short else [])]
        return ["name", KEY, *(each.name for each in fields)]
