"""From a file's bytes to a tree: the encoding, and which language it is written in."""

from __future__ import annotations

import codecs
from pathlib import Path

from subgrpc.errors import FieldViolation, InvalidArgument
from subgrpc.spec.jsonreader import read_json
from subgrpc.spec.tree import Document, SyntaxProblem

MAX_FILE_BYTES = 1 << 20
"""A spec is at most 256 KiB when serialised; its text may be somewhat longer."""
_OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_text(path: Path) -> str:
    """Returns a file's text.

    Raises:
        InvalidArgument: it cannot be read, is too large, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _refused(str(path), f"cannot be read: {error.strerror}", "UNREADABLE") from error
    if len(raw) > MAX_FILE_BYTES:
        raise _refused(str(path), f"is no spec: more than {MAX_FILE_BYTES >> 20} MiB", "TOO_LARGE")
    for mark, name in _OTHER_ENCODINGS.items():
        if raw.startswith(mark):
            raise _refused(f"{path}:1:1", f"the file is {name}; save it as UTF-8", "SPEC_SYNTAX")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The error's position is behind the byte order mark.
        raw = error.object
        line = raw.count(b"\n", 0, error.start) + 1
        row = raw[raw.rfind(b"\n", 0, error.start) + 1 : error.start]
        text = f"the byte 0x{raw[error.start]:02X} is not UTF-8; save the file as UTF-8"
        place = f"{path}:{line}:{len(row.decode('utf-8-sig', 'replace')) + 1}"
        raise _refused(place, text, "SPEC_SYNTAX") from error


def _refused(place: str, text: str, reason: str) -> InvalidArgument:
    return InvalidArgument(violations=[FieldViolation("", text, reason, place)], reason=reason)


def parse(text: str, *, is_json: bool) -> Document:
    """Reads the text of a spec as JSON, or as YAML unless it is JSON.

    Raises:
        SyntaxProblem: it cannot be read.
    """
    text = text.removeprefix("\ufeff")
    if is_json:
        return read_json(text)
    if text.lstrip().startswith("{"):
        # JSON is nearly YAML, which does not allow tabs.
        try:
            return read_json(text)
        except SyntaxProblem:
            pass
    # PyYAML takes time to load, and whoever embeds the SDK may not have it.
    from subgrpc.spec.yamlreader import read_yaml

    return read_yaml(text)
