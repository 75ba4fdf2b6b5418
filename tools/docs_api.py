"""The pages of the API: every service, method, message, field, enum value and rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from docs_text import cell, paragraphs, table
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from proto_files import comments, load

from subgrpc.options.v1 import rules_pb2
from subgrpc.options.v1.rules_pb2 import Quantity, Rules

PAGES = {
    "subgrpc.v1": ("api.md", "API reference"),
    "subgrpc.driver.v1": ("api-driver.md", "Driver API reference"),
    "subgrpc.options.v1": ("api-options.md", "Validation rules"),
}
"""The page of each package, and its title."""
_INTRODUCTIONS = {
    "subgrpc.v1": "What every client speaks: package `subgrpc.v1`, on the server's address. "
    "Requests are checked by the rules beside their fields; what an error's reason means is told "
    "in [Errors](errors.md).",
    "subgrpc.driver.v1": "The contract between the control plane and a backend: package "
    "`subgrpc.driver.v1`, the same messages as those of the Python class `subgrpc.driver.Driver`.",
    "subgrpc.options.v1": "The options beside the fields of [the API](api.md), package "
    "`subgrpc.options.v1`: what a server checks of each request.",
}
_SCALARS = {
    FieldDescriptorProto.Type.Value(name): name.removeprefix("TYPE_").lower()
    for name in FieldDescriptorProto.Type.keys()  # noqa: SIM118
}


def _range(unit: str) -> tuple[Callable[[Any], str], Callable[[Any], str]]:
    return (
        lambda value: f"at least {value:.12g}{unit}",
        lambda value: f"at most {value:.12g}{unit}",
    )


_WORDS: dict[str, Callable[[Any], str]] = {
    "required": lambda _: "required",
    "max_len": lambda value: f"at most {value} characters",
    "max_bytes": lambda value: f"at most {value} bytes",
    "pattern": lambda value: f"matches `{value}`",
    "pattern_help": lambda value: cell(value),
    "min_items": lambda value: f"at least {value} elements",
    "max_items": lambda value: f"at most {value} elements",
    "min": _range("")[0],
    "max": _range("")[1],
    "quantity": lambda value: {
        Quantity.QUANTITY_CPU: "a quantity of cores",
        Quantity.QUANTITY_BYTES: "a quantity of bytes",
    }[value],
    "min_seconds": _range(" s")[0],
    "max_seconds": _range(" s")[1],
    "multiline": lambda _: "may have several lines",
    "resource_name": lambda value: f"of the form `{value.replace('|', '` or `')}`",
    "output_only": lambda _: "output only",
    "keys": lambda value: f"keys: {in_words(value)}",
    "items": lambda value: f"each: {in_words(value)}",
    "unique": lambda value: f"each of another `{value}`",
    "verbatim": lambda _: "any text",
}
"""How each rule reads; a rule that is not here cannot be documented, and stops the build."""


def in_words(rules: Rules) -> str:
    """Rules as a list of words; the pattern itself only where nothing says it better."""
    return ", ".join(
        _WORDS[field.name](value)
        for field, value in rules.ListFields()
        if field.name != "pattern" or not rules.pattern_help
    )


def pages() -> dict[str, str]:
    """The text of each page by its file's name."""
    files = load()
    texts = comments(files)
    return {
        name: _Page(package, texts).render(title, [f for f in files if f.package == package])
        for package, (name, title) in PAGES.items()
    }


class _Page:
    """The page of one package."""

    def __init__(self, package: str, texts: dict[str, str]) -> None:
        self._package = package
        self._texts = texts

    def render(self, title: str, files: list[FileDescriptorProto]) -> str:
        services = [each for file in files for each in file.service]
        messages = [each for file in files for each in file.message_type]
        enums = [each for file in files for each in file.enum_type]
        extensions = [each for file in files for each in file.extension]
        return "\n".join(
            [
                f"# {title}\n\n{_INTRODUCTIONS[self._package]}\n",
                *(self._service(each) for each in services),
                *(["## Messages\n"] if messages else []),
                *(self._message(each, f"{self._package}.{each.name}") for each in messages),
                *(["## Enums\n"] if enums else []),
                *(self._enum(each, f"{self._package}.{each.name}") for each in enums),
                *(["## Options\n"] if extensions else []),
                *(self._extension(each) for each in extensions),
            ]
        )

    def _service(self, service: ServiceDescriptorProto) -> str:
        name = f"{self._package}.{service.name}"
        parts = [f"## {service.name} {{: #{name} }}\n", paragraphs(self._texts[name]) + "\n"]
        return "\n".join([*parts, *(self._method(each, name) for each in service.method)])

    def _method(self, method: MethodDescriptorProto, service: str) -> str:
        name = f"{service}.{method.name}"
        stream = "stream of " if method.server_streaming else ""
        sent = f"stream of {self._link(method.input_type)}" if method.client_streaming else ""
        lines = [
            f"### {method.name} {{: #{name} }}\n",
            paragraphs(self._texts[name]) + "\n",
            f"- Request: {sent or self._link(method.input_type)}",
            f"- Response: {stream}{self._link(method.output_type)}",
            *(f"- HTTP: `{each}`" for each in _http(method)),
        ]
        return "\n".join(lines) + "\n"

    def _message(self, message: DescriptorProto, name: str) -> str:
        rows = [
            (f"`{field.name}`", self._type(field, message), self._meaning(field, message, name))
            for field in message.field
        ]
        nested = [each for each in message.nested_type if not each.options.map_entry]
        return "\n".join(
            [
                f"### {name.removeprefix(self._package + '.')} {{: #{name} }}\n",
                paragraphs(self._texts[name]) + "\n",
                table(("field", "type", "meaning"), rows) or "It has no fields.\n",
                *(self._message(each, f"{name}.{each.name}") for each in nested),
                *(self._enum(each, f"{name}.{each.name}") for each in message.enum_type),
            ]
        )

    def _enum(self, enum: EnumDescriptorProto, name: str) -> str:
        rows = [
            (f"`{value.name}`", str(value.number), cell(self._texts[f"{name}.{value.name}"]))
            for value in enum.value
        ]
        heading = f"### {name.removeprefix(self._package + '.')} {{: #{name} }}\n"
        values = table(("value", "number", "meaning"), rows)
        return "\n".join([heading, paragraphs(self._texts[name]) + "\n", values])

    def _extension(self, field: FieldDescriptorProto) -> str:
        name = f"{self._package}.{field.name}"
        owner = field.extendee.removeprefix(".")
        return (
            f"### {field.name} {{: #{name} }}\n\n{paragraphs(self._texts[name])}\n\n"
            f"An option of `{owner}`, number {field.number}, type {self._link(field.type_name)}.\n"
        )

    def _meaning(self, field: FieldDescriptorProto, owner: DescriptorProto, message: str) -> str:
        notes = []
        if field.proto3_optional:
            notes.append("may be unset")
        elif field.HasField("oneof_index"):
            notes.append(f"one of `{owner.oneof_decl[field.oneof_index].name}`")
        if field.options.HasExtension(rules_pb2.rules):
            notes.append(in_words(field.options.Extensions[rules_pb2.rules]))
        if field.options.debug_redact:
            notes.append("not shown in logs")
        text = cell(self._texts[f"{message}.{field.name}"])
        return f"{text}<br>*Rules:* {'; '.join(notes)}." if notes else text

    def _type(self, field: FieldDescriptorProto, owner: DescriptorProto) -> str:
        if field.label != FieldDescriptorProto.LABEL_REPEATED:
            return self._one(field)
        for nested in owner.nested_type:
            if nested.options.map_entry and field.type_name.endswith(f".{nested.name}"):
                key, value = nested.field
                return f"map of {self._one(key)} to {self._one(value)}"
        return f"list of {self._one(field)}"

    def _one(self, field: FieldDescriptorProto) -> str:
        return self._link(field.type_name) if field.type_name else _SCALARS[field.type]

    def _link(self, full_name: str) -> str:
        name = full_name.removeprefix(".")
        for package, (page, _) in PAGES.items():
            short = name.removeprefix(f"{package}.")
            if short != name:
                return f"[{short}]({'' if package == self._package else page}#{name})"
        return f"`{name}`"


def _http(method: MethodDescriptorProto) -> Iterator[str]:
    """The HTTP form of a method, for gateways."""
    if not method.options.HasExtension(annotations_pb2.http):
        return
    rule = method.options.Extensions[annotations_pb2.http]
    for each in (rule, *rule.additional_bindings):
        verb = each.WhichOneof("pattern")
        yield f"{verb.upper()} {getattr(each, verb)}"
