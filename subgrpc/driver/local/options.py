"""Options of the local driver: those of a cluster, and those of one workload."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct

from subgrpc.errors import FieldViolation, InvalidArgument
from subgrpc.quantities import parse_bytes, parse_cpu

WORKING_DIRECTORY = "working_directory"
FOLDER = "folder"
"""The cluster's option that says where its runs are kept."""
CACHE = "input_cache"
"""The cluster's option that says how large the cache of inputs may be."""

_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        WORKING_DIRECTORY: {
            "type": "string",
            "pattern": "^/",
            "description": (
                "The folder of the server's host in which the tasks start: an absolute path that "
                "exists. Default: an empty folder for each task."
            ),
        }
    },
}


@dataclass(frozen=True, slots=True)
class HostOptions:
    """What an operator says that this host has; None: look.

    Attributes:
        cpu: millicores.
        memory: bytes.
        gpus: the ids of the GPUs, as CUDA_VISIBLE_DEVICES has them.
        input_cache: bytes of inputs that are kept though no run has them.
    """

    cpu: int | None = None
    memory: int | None = None
    gpus: tuple[str, ...] | None = None
    input_cache: int = parse_bytes("20Gi")


def options_schema() -> Struct:
    """The JSON Schema of a workload's options."""
    return ParseDict(_SCHEMA, Struct())


def host_options(options: Mapping[str, object]) -> HostOptions:
    """Reads a cluster's options: `cpu`, `memory`, and `gpus` (a number) or `gpu_ids` (a list).

    `input_cache` says how many bytes of inputs are kept that no run has; 20Gi. `folder` is read by
    `runs_folder`.

    Raises:
        InvalidArgument: one is unknown or wrong; all of them are named.
    """
    violations = _unknown(options, ("cpu", "memory", "gpus", "gpu_ids", FOLDER, CACHE), "")
    violations += _folder_violations(options)
    found: dict[str, int | None] = {}
    for key, parse in (("cpu", parse_cpu), ("memory", parse_bytes), (CACHE, parse_bytes)):
        try:
            found[key] = parse(str(options[key])) if key in options else None
        except ValueError as error:
            violations.append(FieldViolation(key, str(error)))
    gpus: tuple[str, ...] | None = None
    if "gpu_ids" in options:
        gpus = _ids(options["gpu_ids"])
    if "gpus" in options:
        text = str(options["gpus"])
        if not text.isdecimal() or int(text) > 1024:
            violations.append(FieldViolation("gpus", f"{text!r} is not a number from 0 to 1024"))
        elif gpus is None:
            gpus = tuple(str(number) for number in range(int(text)))
        elif len(gpus) != int(text):
            text = f"there are {len(gpus)} gpu_ids, and gpus says {text}; leave one of them out"
            violations.append(FieldViolation("gpus", text))
    if violations:
        raise InvalidArgument(violations=violations)
    cache = found[CACHE]
    host = HostOptions(found["cpu"], found["memory"], gpus)
    return host if cache is None else replace(host, input_cache=cache)


def runs_folder(options: Mapping[str, object], data_dir: str) -> str:
    """Where a cluster's runs are kept: the option `folder`, else the driver's own folder.

    Servers of one machine that share a database may name the same folder: then they can take each
    other's place.
    """
    return os.path.abspath(str(options.get(FOLDER) or data_dir))


def _folder_violations(options: Mapping[str, object]) -> list[FieldViolation]:
    folder = options.get(FOLDER, "/")
    if isinstance(folder, str) and folder.startswith("/") and "\0" not in folder:
        return []
    return [FieldViolation(FOLDER, f"{folder!r} is not an absolute path", "NOT_ABSOLUTE")]


def check_workload_options(options: Struct) -> list[FieldViolation]:
    """Returns what is wrong with a workload's options."""
    values = MessageToDict(options)
    violations = _unknown(values, (WORKING_DIRECTORY,), "options.")
    folder = values.get(WORKING_DIRECTORY)
    if folder is not None:
        problem = _folder_problem(folder)
        if problem:
            violations.append(FieldViolation(f"options.{WORKING_DIRECTORY}", problem))
    return violations


def working_directory(options: Struct) -> str:
    """The folder that the tasks start in; empty: one of their own."""
    return str(MessageToDict(options).get(WORKING_DIRECTORY, ""))


def _folder_problem(folder: object) -> str:
    if not isinstance(folder, str) or not folder.startswith("/"):
        return f"{folder!r} is not an absolute path"
    if "\0" in folder:
        return "a path cannot hold a NUL character"
    if not os.path.isdir(folder):
        return f"{folder!r} is not a folder of the server's host"
    return ""


def _ids(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, (list, tuple)) else str(value).split(",")
    return tuple(text for text in (str(item).strip() for item in items) if text)


def _unknown(
    options: Mapping[str, object], known: tuple[str, ...], prefix: str
) -> list[FieldViolation]:
    violations = []
    for key in options:
        if key in known:
            continue
        close = get_close_matches(key, known, 1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; it has: {', '.join(known)}"
        text = f"the local driver has no option {key!r}{hint}"
        violations.append(FieldViolation(f"{prefix}{key}", text, "UNKNOWN_OPTION"))
    return violations
