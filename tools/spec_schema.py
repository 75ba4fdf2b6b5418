"""The JSON Schema of spec files, from the fields of the API, their rules and their comments.

It is for editors, which complete and check with it; `subgrpc validate` knows more. Draft 7, since
that is what editors agree on. Everything stands in its place, without references, whose neighbours
draft 7 would ignore.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct

from subgrpc.options.v1 import rules_pb2
from subgrpc.options.v1.rules_pb2 import Quantity, Rules
from subgrpc.spec import own
from subgrpc.spec.fields import words_of
from subgrpc.v1.spec_pb2 import EnvVar, TaskGroup

Schema = dict[str, Any]
Comments = Mapping[str, str]

_TEXT = ["string", "number", "boolean"]
"""Text may be written without quotes: what YAML takes for a number is the text that was written."""
_REFERENCE = r"\$\{env:"
"""Where a file says `substitute: true`, a variable may stand for anything."""
_NUMBER = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)"
_CPU = rf"^{_NUMBER}m?$|{_REFERENCE}"
_BYTES = rf"^{_NUMBER}(B|kB?|[KMGTPE](B|iB?)?)?$|{_REFERENCE}"
_PART = r"[0-9]+(\.[0-9]+)?"
_SPAN = "".join(f"({_PART}{unit})?" for unit in ("d", "h", "m", "s", "ms", "us", "ns"))
_SPAN = rf"^({_PART}|{_SPAN})$|{_REFERENCE}"
_SUBSTITUTE: Schema = {
    "type": "boolean",
    "description": "Put environment variables in the place of ${env:NAME}. Default: false.",
}


def rules_of(field: FieldDescriptor) -> Rules:
    """The rules beside a field."""
    rules: Rules = field.GetOptions().Extensions[rules_pb2.rules]
    return rules


def is_map(field: FieldDescriptor) -> bool:
    """Whether a field is a map."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def build(comments: Comments) -> Schema:
    """The whole schema; `comments`: of each message and field, by its full name."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "subgrpc experiment",
        "description": "An experiment for `subgrpc run`. Reference: docs/spec.md.",
        "type": "object",
        "if": {"anyOf": [{"required": ["meta"]}, {"required": ["spec"]}]},
        "then": _submarine(),
        "else": _own(comments),
    }


def _own(comments: Comments) -> Schema:
    name = {
        **_value(own.NAME_FIELD, rules_of(own.NAME_FIELD)),
        **_described(own.NAME_FIELD, comments),
    }
    fields = [*own.TOP_FIELDS, *own.SPEC_FIELDS, *own.SHORT_FIELDS]
    schema = _object(fields, comments)
    schema["properties"] = {"name": name, own.KEY: _SUBSTITUTE, **schema["properties"]}
    schema["patternProperties"][f"^{own.EXTENSION}"] = {}
    schema["oneOf"] = _one_of("command", "args", "task_groups", "taskGroups")
    short = [each.name for each in own.SHORT_FIELDS]
    schema["dependencies"] = {
        "task_groups": {"not": {"anyOf": [{"required": [each]} for each in short]}}
    }
    return schema


def _one_of(*keys: str) -> list[Schema]:
    return [{"required": [key]} for key in keys]


def _object(fields: Iterable[FieldDescriptor], comments: Comments) -> Schema:
    schema: Schema = {"type": "object", "additionalProperties": False, "properties": {}}
    others: Schema = {}
    for field in fields:
        made = {**_described(field, comments), **_field(field, comments)}
        schema["properties"][field.name] = made
        if field.json_name != field.name:
            # JSON's spelling is accepted, but not what editors should propose.
            others[f"^{field.json_name}$"] = made
    schema["patternProperties"] = others
    return schema


def _described(field: FieldDescriptor, comments: Comments) -> Schema:
    return {"description": comments[field.full_name]}


def _field(field: FieldDescriptor, comments: Comments) -> Schema:
    rules = rules_of(field)
    if is_map(field):
        schema: Schema = {
            "type": "object",
            "additionalProperties": _value(field.message_type.fields_by_name["value"], rules.items),
        }
        if rules.keys.pattern:
            schema["propertyNames"] = {"pattern": f"^({rules.keys.pattern})$"}
        return {**schema, **({"maxProperties": rules.max_items} if rules.max_items else {})}
    if field.message_type is EnvVar.DESCRIPTOR:
        return _env(comments)
    if field.is_repeated:
        element = _message(field, comments) or _value(field, rules.items)
        schema = {"type": "array", "items": element}
        if rules.required:
            schema["minItems"] = 1
        return {**schema, **({"maxItems": rules.max_items} if rules.max_items else {})}
    return _message(field, comments) or _value(field, rules)


def _message(field: FieldDescriptor, comments: Comments) -> Schema | None:
    """The schema of a message of ours; None for everything else."""
    kind = field.message_type
    if kind is None or kind.file.package != "subgrpc.v1":
        return None
    schema = _object(kind.fields, comments)
    if kind is TaskGroup.DESCRIPTOR:
        schema["oneOf"] = _one_of("command", "args")
    return schema


def _env(comments: Comments) -> Schema:
    """Variables: a mapping, or a list as the API has it."""
    fields = EnvVar.DESCRIPTOR.fields_by_name
    secret = _value(fields["secret"], rules_of(fields["secret"]))
    listed = _object(EnvVar.DESCRIPTOR.fields, comments)
    listed["required"] = ["name"]
    reference = {
        "type": "object",
        "additionalProperties": False,
        "required": ["secret"],
        "properties": {"secret": {**_described(fields["secret"], comments), **secret}},
    }
    mapping = {
        "type": "object",
        "propertyNames": {"pattern": f"^({rules_of(fields['name']).pattern})$"},
        "additionalProperties": {"anyOf": [{"type": _TEXT}, reference]},
    }
    return {"anyOf": [mapping, {"type": "array", "items": listed}]}


def _value(field: FieldDescriptor, rules: Rules) -> Schema:
    if field.message_type is Duration.DESCRIPTOR:
        span: Schema = {"type": ["string", "number"], "minLength": 1, "pattern": _SPAN}
        span["minimum"] = rules.min_seconds
        return {**span, "maximum": rules.max_seconds, "examples": ["90s", "1h30m"]}
    if field.message_type is Struct.DESCRIPTOR:
        return {"type": "object"}
    if field.enum_type is not None:
        words = "|".join(words_of(field.enum_type))
        return {"type": "string", "pattern": f"^({words})$|{_REFERENCE}"}
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"type": ["boolean", "string"], "pattern": f"^(true|false)$|{_REFERENCE}"}
    if field.cpp_type == FieldDescriptor.CPPTYPE_UINT32:
        limits = {"minimum": rules.min, "maximum": rules.max or 2**32 - 1}
        return {"type": ["integer", "string"], "pattern": f"^[0-9]+$|{_REFERENCE}", **limits}
    return _string(rules)


def _string(rules: Rules) -> Schema:
    if rules.quantity:
        cpu = rules.quantity == Quantity.QUANTITY_CPU
        examples = ["500m", "2"] if cpu else ["512Mi", "20Gi", "20GB"]
        pattern = _CPU if cpu else _BYTES
        kinds: Sequence[str] = ["string", "number"]
        return {"type": kinds, "pattern": pattern, "exclusiveMinimum": 0, "examples": examples}
    if rules.pattern:
        return {"type": "string", "pattern": f"^({rules.pattern})$|{_REFERENCE}"}
    return {"type": _TEXT, **({"maxLength": rules.max_len} if rules.max_len else {})}


def _submarine() -> Schema:
    """Apache Submarine's ExperimentSpec, as far as it can be run."""

    def closed(properties: Schema, text: str) -> Schema:
        return {
            "type": "object",
            "description": text,
            "additionalProperties": False,
            "properties": properties,
        }

    text = {"type": [*_TEXT, "null"]}
    command = {"type": ["string", "null"], "description": "A command for /bin/sh -c."}
    env = {"type": ["object", "null"], "additionalProperties": {"type": _TEXT}}
    unsupported = {"type": "null", "description": "Not supported yet."}
    meta = {
        "name": {**_value(own.NAME_FIELD, rules_of(own.NAME_FIELD)), "type": ["string", "null"]},
        "namespace": {"enum": ["default", None]},
        "framework": {
            "type": ["string", "null"],
            "pattern": "^([Tt]ensor[Ff]low|[Pp]y[Tt]orch|[Xx][Gg][Bb]oost)$",
            "examples": ["tensorflow", "pytorch", "xgboost"],
        },
        "cmd": command,
        "envVars": env,
        "tags": {"type": ["array", "null"], "items": {"type": _TEXT}},
        "experimentId": unsupported,
    }
    replicas = rules_of(TaskGroup.DESCRIPTOR.fields_by_name["replicas"])
    resources = "Such as: cpu=1,memory=1G,nvidia.com/gpu=1"
    task = {
        "name": text,
        "replicas": {"type": "integer", "minimum": replicas.min, "maximum": replicas.max},
        "resources": {"type": ["string", "null"], "description": resources},
        "cmd": command,
        "envVars": env,
        "image": unsupported,
    }
    roles = {
        "type": "object",
        "description": "Roles, such as Worker, Ps, Master, Chief or Evaluator.",
        "minProperties": 1,
        "additionalProperties": closed(task, "A role."),
    }
    top = {"meta": closed(meta, "What all roles share."), "spec": roles, own.KEY: _SUBSTITUTE}
    later = dict.fromkeys(("environment", "code", "experimentHandlerSpec"), unsupported)
    return {**closed({**top, **later}, "Apache Submarine's form."), "required": ["spec"]}
