"""Who calls: by bearer token, by client certificate, or anybody on this machine."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from subgrpc.config import ServerConfig
from subgrpc.errors import FailedPrecondition, Unauthenticated

ANONYMOUS: Final = "anonymous"
"""The principal of callers that need no credentials."""

_PRINCIPAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:/+-]{0,127}")
_log = structlog.get_logger(__name__)


class Connection(Protocol):
    """What authentication asks of a gRPC context."""

    def auth_context(self) -> Mapping[str, Any]:
        """Properties of the connection's peer, as lists of bytes."""


class Authenticator(Protocol):
    """Tells who calls."""

    def principal(self, authorization: str, connection: Connection) -> str:
        """Returns the caller's name.

        Args:
            authorization: the call's metadata of that name; empty: none.
            connection: the connection on which it came.

        Raises:
            Unauthenticated: the credentials are missing or wrong.
        """


def make_authenticator(config: ServerConfig) -> Authenticator:
    """The authenticator that a configuration asks for.

    Raises:
        FailedPrecondition: reason TOKEN_FILE_INVALID.
    """
    if config.token_file is not None:
        return Tokens(read_tokens(config.token_file))
    return Anybody() if config.tls_client_ca is None else Certificates()


class Anybody:
    """Lets everybody in: for loopback and Unix sockets."""

    def principal(self, authorization: str, connection: Connection) -> str:
        """Always `ANONYMOUS`."""
        return ANONYMOUS


class Certificates:
    """Names callers by the certificate that TLS has checked."""

    def principal(self, authorization: str, connection: Connection) -> str:
        """The certificate's first URI or DNS name, else its common name.

        A Unix socket has no certificates: its file's permissions say who may use it.
        """
        properties = connection.auth_context()
        if b"ssl" not in properties.get("transport_security_type", ()):
            return ANONYMOUS
        for key in ("x509_subject_alternative_name", "x509_common_name"):
            for value in properties.get(key, ()):
                name: str = value.decode("utf-8", "replace")
                if _PRINCIPAL.fullmatch(name):
                    return name
        text = "the client certificate has no usable subject alternative name or common name"
        raise Unauthenticated(text, reason="CERTIFICATE_UNNAMED")


class Tokens:
    """Names callers by the bearer token of each call."""

    def __init__(self, principals: Mapping[bytes, str]) -> None:
        """Takes what `read_tokens` returns."""
        self._principals = dict(principals)

    def principal(self, authorization: str, connection: Connection) -> str:
        """The principal of the token in `authorization: Bearer TOKEN`."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            text = 'a bearer token is needed: send the metadata "authorization: Bearer TOKEN"'
            raise Unauthenticated(text, reason="CREDENTIALS_MISSING")
        # Looking up a digest tells nothing about tokens by the time that it takes.
        principal = self._principals.get(_digest(token.strip()))
        if principal is None:
            raise Unauthenticated("the bearer token is not known", reason="CREDENTIALS_INVALID")
        return principal


def read_tokens(path: Path) -> dict[bytes, str]:
    """Reads lines `TOKEN PRINCIPAL`; `#` starts a comment. Returns principals by token digest.

    Raises:
        FailedPrecondition: the file cannot be read, has a wrong line, or holds no token.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(path, f"cannot be read: {error}") from error
    principals: dict[bytes, str] = {}
    for number, line in enumerate(lines, 1):
        words = list(takewhile(lambda word: not word.startswith("#"), line.split()))
        if not words:
            continue
        # The line is not shown: it holds a secret.
        if len(words) != 2 or not _PRINCIPAL.fullmatch(words[1]):
            raise _invalid(path, f"line {number} is not of the form TOKEN PRINCIPAL")
        if principals.setdefault(_digest(words[0]), words[1]) != words[1]:
            raise _invalid(path, f"line {number} repeats a token for another principal")
    if not principals:
        raise _invalid(path, "holds no token: nobody could call")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        _log.warning("token_file.open", path=str(path), advice="chmod 600: others can read it")
    return principals


def _invalid(path: Path, why: str) -> FailedPrecondition:
    return FailedPrecondition(f"the token file {path} {why}", reason="TOKEN_FILE_INVALID")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
