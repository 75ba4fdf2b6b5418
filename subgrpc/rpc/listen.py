"""Where a server may listen: only loopback and Unix sockets without TLS and authentication."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from subgrpc.config import ServerConfig
from subgrpc.errors import FailedPrecondition, InvalidArgument

TLS = "tls://"
"""What an address in a server's record begins with if that server uses TLS there."""
_UNIX_PATH_BYTES = 107
"""What `sun_path` holds."""


@dataclass(frozen=True, slots=True)
class Listener:
    """An address to listen at.

    Attributes:
        host: an IP address or a host name, without brackets; empty for a Unix socket.
        port: 0: a free one.
        path: of a Unix socket; empty for TCP.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.path or self.host.lower() == "localhost":
            return True
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every address of this machine: nobody can call that."""
        try:
            return not self.path and ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False

    def at(self, port: int) -> str:
        """The address with a port, as gRPC and clients take it."""
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"

    def __str__(self) -> str:
        return self.at(self.port)


def parse_listener(text: str) -> Listener:
    """Reads `127.0.0.1:7411`, `[::1]:0`, `localhost:7411` or `unix:/path`.

    Raises:
        InvalidArgument: it is none of them.
    """
    if text.startswith("unix:"):
        # gRPC also knows unix:///path.
        path = text.removeprefix("unix:")
        path = path[2:] if path.startswith("///") else path
        if not path or "\0" in path or len(os.fsencode(path)) > _UNIX_PATH_BYTES:
            raise _wrong(text, f"a socket's path has 1 to {_UNIX_PATH_BYTES} bytes")
        return Listener(path=os.path.abspath(path))
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port[:6]) > 65535:
        raise _wrong(text, "write HOST:PORT, with a port from 0 to 65535, or unix:PATH")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise _wrong(text, "put an IPv6 address in brackets: [::1]:7411")
    if not host:
        raise _wrong(text, f"name the host; 0.0.0.0:{port} is every IPv4 address of this machine")
    return Listener(host=host, port=int(port))


def advertised(config: ServerConfig, listeners: list[Listener], ports: Sequence[str]) -> str:
    """Where other servers reach this one; empty: nowhere.

    Args:
        config: the server's configuration.
        listeners: where it listens.
        ports: the same with the ports that it got.

    Raises:
        InvalidArgument: INVALID_LISTENER, `advertise` is no address that can be called.
    """
    if config.advertise:
        listener = check_advertise(config.advertise)
        return _tls(config, listener) + str(listener)
    order = sorted(zip(listeners, ports, strict=True), key=lambda each: bool(each[0].path))
    for listener, address in order:
        if not listener.is_wildcard:
            return _tls(config, listener) + address
    return ""


def check_advertise(text: str) -> Listener:
    """Reads an address that others can call. Raises InvalidArgument: INVALID_LISTENER."""
    listener = parse_listener(text)
    if not listener.path and (not listener.port or listener.is_wildcard):
        text = f"cannot advertise {text!r}: name the host and the port at which others reach it"
        raise InvalidArgument(text, reason="INVALID_LISTENER")
    return listener


def _tls(config: ServerConfig, listener: Listener) -> str:
    return TLS if config.tls_cert is not None and not listener.path else ""


def _wrong(text: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"cannot listen at {text!r}: {why}", reason="INVALID_LISTENER")


def check_secure(listeners: list[Listener], config: ServerConfig) -> None:
    """Sees to it that nobody else's machine gets in without TLS and credentials.

    Raises:
        FailedPrecondition: reason INSECURE_LISTENER or TLS_INCOMPLETE.
    """
    tls = config.tls_cert is not None and config.tls_key is not None
    if (config.tls_cert is None) != (config.tls_key is None) or (config.tls_client_ca and not tls):
        text = "TLS needs both a certificate (tls_cert) and its key (tls_key)"
        raise FailedPrecondition(text, reason="TLS_INCOMPLETE")
    authenticated = config.token_file is not None or config.tls_client_ca is not None
    missing = [
        *(["TLS (tls_cert and tls_key)"] if not tls else []),
        *(["authentication (token_file or tls_client_ca)"] if not authenticated else []),
    ]
    for listener in listeners:
        if missing and not listener.is_local:
            text = (
                f"refused to listen at {listener}: other machines can reach it, and it lacks "
                f"{' and '.join(missing)}"
            )
            raise FailedPrecondition(text, reason="INSECURE_LISTENER")


def server_credentials(config: ServerConfig) -> grpc.ServerCredentials | None:
    """TLS of the configuration; None: none is configured.

    Raises:
        FailedPrecondition: reason TLS_FILE_UNREADABLE.
    """
    if config.tls_cert is None or config.tls_key is None:
        return None
    authorities = None if config.tls_client_ca is None else read_pem(config.tls_client_ca)
    return grpc.ssl_server_credentials(
        [(read_pem(config.tls_key), read_pem(config.tls_cert))],
        root_certificates=authorities,
        require_client_auth=authorities is not None,
    )


def read_pem(path: Path) -> bytes:
    """Reads a file that should be PEM. Raises FailedPrecondition: TLS_FILE_UNREADABLE."""
    try:
        data = path.read_bytes()
    except OSError as error:
        text = f"{path} cannot be read: {error.strerror}"
        raise FailedPrecondition(text, reason="TLS_FILE_UNREADABLE") from error
    if b"-----BEGIN " not in data:
        raise FailedPrecondition(f"{path} is not a PEM file", reason="TLS_FILE_UNREADABLE")
    return data


def bind(
    server: grpc.aio.Server, listener: Listener, credentials: grpc.ServerCredentials | None
) -> str:
    """Binds a listener and returns its address, with the port that it got.

    Raises:
        FailedPrecondition: reason ADDRESS_IN_USE or ADDRESS_UNUSABLE.
    """
    if listener.path:
        return _bind_unix(server, listener)
    try:
        if credentials is None:
            port = server.add_insecure_port(str(listener))
        else:
            port = server.add_secure_port(str(listener), credentials)
    except RuntimeError as error:
        raise _unusable(listener, _bind_error(listener) or error) from error
    return listener.at(port)


def _bind_unix(server: grpc.aio.Server, listener: Listener) -> str:
    """Binds a Unix socket that only its owner may use.

    gRPC takes over a socket file without asking, also that of a server that lives.
    """
    path = listener.path
    try:
        if os.path.lexists(path):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise OSError(errno.EEXIST, "there is a file of that name, which is no socket")
            if _answers(path):
                raise OSError(errno.EADDRINUSE, "another server answers there")
        before = os.umask(0o177)
        try:
            server.add_insecure_port(str(listener))
        finally:
            os.umask(before)
    except OSError as error:
        raise _unusable(listener, error) from error
    except RuntimeError as error:
        raise _unusable(listener, error) from error
    return str(listener)


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
    return True


def _bind_error(listener: Listener) -> OSError | None:
    """Why an address cannot be bound; gRPC's own error does not say it in a usable form."""
    try:
        found = socket.getaddrinfo(listener.host, listener.port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                probe.listen()
    except OSError as error:
        return error
    return None


def _unusable(listener: Listener, error: Exception) -> FailedPrecondition:
    number = error.errno if isinstance(error, OSError) else None
    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if number == errno.EADDRINUSE:
        text = f"cannot listen at {listener}: the address is in use by another server"
        return FailedPrecondition(
            text, reason="ADDRESS_IN_USE", metadata={"address": str(listener)}
        )
    text = f"cannot listen at {listener}: {why}"
    return FailedPrecondition(text, reason="ADDRESS_UNUSABLE", metadata={"address": str(listener)})
