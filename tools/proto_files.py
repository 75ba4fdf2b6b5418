"""The protos with their comments, as descriptors."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent


def load(*names: str) -> list[FileDescriptorProto]:
    """Reads protos (without what they import), with comments; by default all of ours.

    Args:
        names: such as `subgrpc/v1/spec.proto`.
    """
    packages = importlib.util.find_spec("google.api")
    assert packages is not None, "googleapis-common-protos is not installed"
    assert packages.submodule_search_locations is not None
    includes = [
        ROOT / "proto",
        Path(next(iter(packages.submodule_search_locations))).parent.parent,
        Path(grpc_tools.__file__).parent / "_proto",
    ]
    wanted = names or [
        str(path.relative_to(ROOT / "proto")) for path in sorted((ROOT / "proto").rglob("*.proto"))
    ]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        arguments = [f"-I{each}" for each in includes]
        arguments += ["--include_source_info", f"--descriptor_set_out={out}", *wanted]
        assert protoc.main(["protoc", *arguments]) == 0, "protoc failed"
        return list(FileDescriptorSet.FromString(out.read_bytes()).file)


def comments(files: Sequence[FileDescriptorProto]) -> dict[str, str]:
    """The comment before each message, field, enum, value, service and method, by full name."""
    found = {}
    for file in files:
        for location in file.source_code_info.location:
            name = _name(file, list(location.path))
            if name:
                found[name] = location.leading_comments
    return found


def _name(file: FileDescriptorProto, path: list[int]) -> str:
    """The full name of what a path leads to; empty: nothing that has one of its own."""
    parts = [file.package]
    at: Any = file
    for key, index in _pairs(path):
        field = at.DESCRIPTOR.fields_by_number.get(key)
        if field is None or field.name not in _NAMED:
            return ""
        at = getattr(at, field.name)[index]
        parts.append(at.name)
    return ".".join(parts) if len(path) % 2 == 0 and path else ""


_NAMED = frozenset(
    [
        "message_type",
        "enum_type",
        "service",
        "extension",
        "field",
        "nested_type",
        "oneof_decl",
        "value",
        "method",
    ]
)


def _pairs(path: list[int]) -> Iterator[tuple[int, int]]:
    return zip(path[::2], path[1::2], strict=False)
