"""Contexts: servers by name, in `$XDG_CONFIG_HOME/subgrpc/config.toml`, one of them the current.

The file has a line `current = "NAME"`, and for each server a table `[contexts.NAME]` with `address`
and, where needed, `token_file`, `tls_ca`, `tls_cert` and `tls_key`. Paths start at its folder.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from subgrpc.errors import FieldViolation, InvalidArgument, NotFound

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""What a context may be called."""


@dataclass(frozen=True, slots=True)
class ServerContext:
    """How to reach one server; an empty text is nothing.

    Attributes:
        address: HOST:PORT or unix:PATH.
        token_file: file with the bearer token; the token itself is never stored.
        tls_ca: PEM file with who signed the server's certificate.
        tls_cert: PEM file with the user's own certificate.
        tls_key: PEM file with its key.
    """

    address: str
    token_file: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""


@dataclass(slots=True)
class Contexts:
    """All contexts of a user.

    Attributes:
        current: the one that is used unless told otherwise; empty: none.
        servers: by name.
    """

    current: str = ""
    servers: dict[str, ServerContext] = field(default_factory=dict)

    def find(self, name: str) -> ServerContext:
        """Returns a context.

        Raises:
            NotFound: there is none of that name.
        """
        if name in self.servers:
            return self.servers[name]
        known = ", ".join(self.servers) or "none"
        raise NotFound(
            f"there is no context {name!r} in {config_file()}; there are: {known}",
            reason="CONTEXT_NOT_FOUND",
        )


def config_file() -> Path:
    """Where the contexts are; the XDG specification has relative paths ignored."""
    shared = os.environ.get("XDG_CONFIG_HOME")
    base = Path(shared) if shared and os.path.isabs(shared) else Path.home() / ".config"
    return base / "subgrpc" / "config.toml"


def load() -> Contexts:
    """Reads the contexts; without a file there are none.

    Raises:
        InvalidArgument: the file cannot be read as such.
    """
    path = config_file()
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return Contexts()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong("", str(error)) from error
    _check_keys("", raw, ("current", "contexts"))
    current, tables = raw.get("current", ""), raw.get("contexts", {})
    if not isinstance(current, str) or not isinstance(tables, dict):
        raise _wrong("", "`current` is a name, and `contexts` are tables")
    return Contexts(current, {name: _server(name, raw) for name, raw in tables.items()})


def save(contexts: Contexts) -> None:
    """Writes the contexts, at once or not at all; comments of the file are lost."""
    lines = [f"current = {_text(contexts.current)}"] if contexts.current else []
    for name, server in contexts.servers.items():
        lines += ["", f"[contexts.{_text(name)}]"]
        lines += [f"{key} = {_text(value)}" for key, value in asdict(server).items() if value]
    path = Path(os.path.realpath(config_file()))  # behind a link is where the user keeps it
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    number, temporary = tempfile.mkstemp(dir=path.parent, prefix=".config-")
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write("\n".join(lines).lstrip("\n") + "\n")
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_token(path: str) -> str:
    """The token in a file.

    Raises:
        InvalidArgument: it cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8").strip() if path else ""
    except (OSError, UnicodeDecodeError) as error:
        text = f"{path} cannot be read: {error}"
        raise InvalidArgument(violations=[FieldViolation("token_file", text)]) from error


def _server(name: str, raw: object) -> ServerContext:
    where = f"contexts.{name}"
    if not NAME.fullmatch(name) or not isinstance(raw, dict):
        raise _wrong(where, "a context is a table, named with letters, digits and . _ -")
    _check_keys(where, raw, [each.name for each in fields(ServerContext)])
    wrong = [key for key, value in raw.items() if not isinstance(value, str)]
    if wrong or not raw.get("address"):
        raise _wrong(f"{where}.{wrong[0] if wrong else 'address'}", "must be a text")
    base = config_file().parent
    paths = {key: str(base / Path(value).expanduser()) for key, value in raw.items() if value}
    return ServerContext(**{**paths, "address": raw["address"]})


def _check_keys(where: str, raw: Mapping[str, Any], known: list[str] | tuple[str, ...]) -> None:
    for key in raw:
        if key not in known:
            raise _wrong(f"{where}.{key}".lstrip("."), f"no known key; known: {', '.join(known)}")


def _wrong(where: str, text: str) -> InvalidArgument:
    place = f"{config_file()}: {where}".removesuffix(": ")
    return InvalidArgument(violations=[FieldViolation(place, text)])


def _text(value: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
