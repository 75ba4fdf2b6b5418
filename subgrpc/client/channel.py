"""Channels: where a client connects to, and how it keeps, secures and retries the connection."""

from __future__ import annotations

import ipaddress
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from subgrpc.errors import FieldViolation, InvalidArgument

DEFAULT_ADDRESS = "127.0.0.1:7411"

# A server that restarts is met again within this, not after gRPC's own two minutes.
_RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
]
# A connection that died without a word (a laptop that slept, a firewall) is noticed: by streams
# within a minute.
_STREAMS_KEEPALIVE = [
    ("grpc.keepalive_time_ms", 30_000),
    # On a thin line the answer stands behind what is being sent.
    ("grpc.keepalive_timeout_ms", 30_000),
    ("grpc.http2.ping_timeout_ms", 30_000),  # else a minute, whatever the line above says
]
# By calls so early that they are tried again before they time out: else each of them would, until
# the kernel gives up. They need no probes of the bandwidth, which wait behind large answers.
_UNARY_KEEPALIVE = [
    ("grpc.keepalive_time_ms", 12_000),
    ("grpc.keepalive_timeout_ms", 8_000),
    ("grpc.http2.ping_timeout_ms", 8_000),
    ("grpc.http2.bdp_probe", 0),
]
# Files on their way: what is not read yet stays with the sender, however fast the network is. Else
# each connection would hold tens of MiB.
_BULK = [
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 4 << 20),
]
# Every mutation carries a request id, so that a second try is harmless.
_RETRIES = {
    "methodConfig": [
        {
            "name": [
                {"service": "subgrpc.v1.ExperimentService"},
                {"service": "subgrpc.v1.ClusterService"},
                {"service": "subgrpc.v1.ArtifactService"},
                {"service": "subgrpc.v1.ModelRegistryService"},
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

    token: str = field(default="", repr=False)
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


def from_environment() -> tuple[str, Credentials]:
    """The server that `SUBGRPC_ADDRESS`, `_TOKEN`, `_TLS_CA`, `_TLS_CERT` and `_TLS_KEY` name."""

    def read(name: str) -> str:
        return os.environ.get(f"SUBGRPC_{name}", "")

    credentials = Credentials(read("TOKEN"), read("TLS_CA"), read("TLS_CERT"), read("TLS_KEY"))
    return read("ADDRESS") or DEFAULT_ADDRESS, credentials


def is_local(address: str) -> bool:
    """Whether an address is on this machine: a loopback address or a Unix socket."""
    if address.startswith("unix:"):
        return True
    if "," in address:
        return all(is_local(each) for each in address.split(","))
    host = address.rpartition(":")[0].strip("[]")
    if host.lower() == "localhost":
        return True
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


class Target:
    """A server that channels can be opened to; a channel connects with its first call.

    A connection that leaves this machine, or that was given certificates, uses TLS: neither token
    nor data ever travel in the open.

    Args:
        address: `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`. Where several servers share a database,
            a name with several addresses leads to one that answers; so do several loopback
            addresses with commas between them.
        credentials: token and certificates.

    Raises:
        InvalidArgument: the address has another form, or a file cannot be read.
    """

    def __init__(self, address: str, credentials: Credentials) -> None:
        check_address(address)
        self.address = address
        self.metadata = credentials.metadata
        """What goes with every call."""
        self._ca = _read(credentials.ca, "ca")
        self._cert = _read(credentials.cert, "cert")
        self._key = _read(credentials.key, "key")

    def open(self, *, streams: bool, bulk: bool = False) -> grpc.Channel:
        """Opens a channel; `streams`: for long ones, which are resumed by token, not retried.

        With `bulk` for those that carry files.
        """
        tls, options = self._tls(), [*_options(streams=streams), *(_BULK if bulk else ())]
        if tls is None:
            return grpc.insecure_channel(_target(self.address), options)
        return grpc.secure_channel(self.address, tls, options)

    def open_aio(self, *, streams: bool) -> grpc.aio.Channel:
        """Opens a channel that belongs to the running event loop."""
        tls, options = self._tls(), _options(streams=streams)
        if tls is None:
            return grpc.aio.insecure_channel(_target(self.address), options)
        return grpc.aio.secure_channel(self.address, tls, options)

    def _tls(self) -> grpc.ChannelCredentials | None:
        if is_local(self.address) and not (self._ca or self._cert):
            return None
        return grpc.ssl_channel_credentials(
            root_certificates=self._ca, private_key=self._key, certificate_chain=self._cert
        )


def _options(*, streams: bool) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        *_RECONNECT,
        # Each channel has a connection of its own: streams never starve unary calls.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0 if streams else 1),
    ]
    if streams:
        return [*options, *_STREAMS_KEEPALIVE]
    return [*options, *_UNARY_KEEPALIVE, ("grpc.service_config", json.dumps(_RETRIES))]


def check_address(address: str) -> None:
    """Complains about what is no address.

    Raises:
        InvalidArgument: it is neither `HOST:PORT` nor `[IPV6]:PORT` nor `unix:PATH`, nor several
            loopback addresses.
    """
    if "," in address and not address.startswith("unix:"):
        _check_several(address)
        return
    if address.startswith("unix:") and len(address) > len("unix:"):
        return
    host, colon, port = address.rpartition(":")
    if "://" not in address and host and colon and port.isascii() and port.isdigit():
        return
    text = f"{address!r} is no address: HOST:PORT, [IPV6]:PORT or unix:PATH"
    raise InvalidArgument(violations=[FieldViolation("address", text)])


def _check_several(address: str) -> None:
    """GRPC knows several addresses in one target only as numbers, and TLS wants one name."""
    for each in address.split(","):
        check_address(each)
        if each.startswith("unix:") or not is_local(each):
            text = (
                f"{each!r} among several is no loopback address: servers of other machines are "
                "reached by one name that has all of their addresses"
            )
            raise InvalidArgument(violations=[FieldViolation("address", text)])


def _target(address: str) -> str:
    """What gRPC takes: several addresses are tried in order."""
    if "," not in address or address.startswith("unix:"):
        return address
    found = [each.replace("localhost", "127.0.0.1") for each in address.split(",")]
    return f"{'ipv6' if all(each.startswith('[') for each in found) else 'ipv4'}:{','.join(found)}"


def _read(path: str, field: str) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        text = f"{path} cannot be read: {error.strerror}"
        raise InvalidArgument(violations=[FieldViolation(field, text)]) from error
