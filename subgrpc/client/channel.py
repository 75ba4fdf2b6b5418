"""Channels: where a client connects to, and how it keeps, secures and retries the connection."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from subgrpc.errors import FieldViolation, InvalidArgument

DEFAULT_ADDRESS = "127.0.0.1:7411"

# A server that restarts is met again within this, not after gRPC's own two minutes.
_RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
]
# A connection that died without a word (a laptop that slept, a firewall) is noticed.
_KEEPALIVE = [("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000)]
# Every mutation carries a request id, so that a second try is harmless.
_RETRIES = {
    "methodConfig": [
        {
            "name": [
                {"service": "subgrpc.v1.ExperimentService"},
                {"service": "subgrpc.v1.ClusterService"},
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a client proves itself, and checks the server.

    Attributes:
        token: bearer token; empty: none.
        ca: PEM file with the authority that signed the server's certificate; empty: the system's.
        cert: PEM file with the client's own certificate (mTLS); empty: none.
        key: PEM file with the key of `cert`.
    """

    token: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call; white space around the token, as of a file, is no part of it.

        Raises:
            InvalidArgument: the token cannot be sent.
        """
        token = self.token.strip()
        if not (token.isascii() and token.isprintable()):
            # The token is not shown: it is a secret.
            text = "a token has printable ASCII characters only"
            raise InvalidArgument(violations=[FieldViolation("token", text)])
        return (("authorization", f"Bearer {token}"),) if token else ()


def is_local(address: str) -> bool:
    """Whether an address is on this machine: a loopback address or a Unix socket."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host.lower() == "localhost":
        return True
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def open_channel(address: str, credentials: Credentials, *, streams: bool) -> grpc.Channel:
    """Opens a channel; it connects with the first call.

    A connection that leaves this machine, or that was given certificates, uses TLS: neither token
    nor data ever travel in the open.

    Args:
        address: `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`.
        credentials: token and certificates.
        streams: whether it is for long streams, which are resumed by token and not retried.

    Raises:
        InvalidArgument: the address has another form, or a file cannot be read.
    """
    _check(address)
    options: list[tuple[str, Any]] = [
        *_RECONNECT,
        # Each channel has a connection of its own: streams never starve unary calls.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0 if streams else 1),
    ]
    if streams:
        options += _KEEPALIVE
    else:
        options.append(("grpc.service_config", json.dumps(_RETRIES)))
    if is_local(address) and not (credentials.ca or credentials.cert):
        return grpc.insecure_channel(address, options)
    tls = grpc.ssl_channel_credentials(
        root_certificates=_read(credentials.ca, "ca"),
        private_key=_read(credentials.key, "key"),
        certificate_chain=_read(credentials.cert, "cert"),
    )
    return grpc.secure_channel(address, tls, options)


def _check(address: str) -> None:
    if address.startswith("unix:") and len(address) > len("unix:"):
        return
    host, colon, port = address.rpartition(":")
    if "://" not in address and host and colon and port.isascii() and port.isdigit():
        return
    text = f"{address!r} is no address: HOST:PORT, [IPV6]:PORT or unix:PATH"
    raise InvalidArgument(violations=[FieldViolation("address", text)])


def _read(path: str, field: str) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        text = f"{path} cannot be read: {error.strerror}"
        raise InvalidArgument(violations=[FieldViolation(field, text)]) from error
