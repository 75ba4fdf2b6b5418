"""Calls the other servers of this control plane: one channel to each, opened when it is needed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

import grpc
import grpc.aio
import structlog

from subgrpc import __version__
from subgrpc.config import ServerConfig
from subgrpc.errors import (
    DataLoss,
    InvalidArgument,
    NotFound,
    OutOfRange,
    SubgrpcError,
    Unavailable,
)
from subgrpc.metastore import Metastore, ServerRecord
from subgrpc.rpc.hop import HOP_KEY, Hops
from subgrpc.rpc.listen import TLS, read_pem
from subgrpc.rpc.status import DETAILS_KEY, from_status
from subgrpc.v1.experiment_service_pb2 import StreamLogsRequest

METHOD: Final = "/subgrpc.v1.ExperimentService/StreamLogs"
SILENCE: Final = 0.5
"""Seconds without a frame after which whoever follows may look around."""
RETRY: Final = 2.0
"""Seconds after which a client may ask again for what a server keeps that is away."""
_PASSED_ON: Final = (NotFound, OutOfRange, InvalidArgument, DataLoss)
"""What another server answers to the client's own question."""
_OPTIONS: Final = (
    # A server that hangs, or whose network swallows everything, is noticed.
    ("grpc.keepalive_time_ms", 12_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # else a minute, whatever the line above says
    # One that is back is found soon, and one that does not answer keeps nobody waiting.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 3_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
)

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Peer:
    """Another server.

    Attributes:
        away: since when it has not answered, ISO 8601; empty: it does.
    """

    record: ServerRecord
    channel: grpc.aio.Channel
    away: str = ""


class PeerServers:
    """The other servers; to be closed before the metastore is."""

    def __init__(self, store: Metastore, hops: Hops, config: ServerConfig) -> None:
        """Opens nothing yet.

        Raises:
            FailedPrecondition: TLS_FILE_UNREADABLE.
        """
        self._store = store
        self._hops = hops
        self._credentials = _credentials(config)
        self._peers: dict[str, _Peer] = {}

    async def close(self) -> None:
        """Ends all calls."""
        peers, self._peers = list(self._peers.values()), {}
        for peer in peers:
            await peer.channel.close()

    async def logs(
        self, server: str, request: StreamLogsRequest, attempt: int
    ) -> AsyncGenerator[bytes, None]:
        """As `subgrpc.services.log_places.Peers.logs`."""
        peer = await self._peer(server, request.name, attempt)
        stream: Any = peer.channel.unary_stream(METHOD)  # without serialisers: bytes
        credential = self._hops.credential(server, attempt)
        call = stream(request.SerializeToString(), metadata=((HOP_KEY, credential),))
        reading: asyncio.Future[Any] | None = None
        try:
            while True:
                if reading is None:
                    reading = asyncio.ensure_future(call.read())
                done, _ = await asyncio.wait((reading,), timeout=SILENCE)
                if not done:
                    yield b""
                    continue
                frame, reading = reading.result(), None
                peer.away = ""
                if frame is grpc.aio.EOF:
                    return
                yield frame
        except grpc.aio.AioRpcError as error:
            raise _failure(peer, error, request.name, attempt) from error
        finally:
            call.cancel()
            if reading is not None:
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
                    await reading

    async def _peer(self, server: str, name: str, attempt: int) -> _Peer:
        record = await self._store.server(server)
        if record is None or not record.address:
            where = f"on {record.host}, which advertises no address" if record else "without record"
            raise _unavailable(f"a server {where}", name, attempt)
        known = self._peers.get(server)
        if known is not None and known.record.address == record.address:
            return known
        peer = self._peers[server] = _Peer(record, self._open(record.address))
        if known is not None:
            await known.channel.close()
        return peer

    def _open(self, address: str) -> grpc.aio.Channel:
        if address.startswith(TLS):
            target = address.removeprefix(TLS)
            return grpc.aio.secure_channel(target, self._credentials, options=_OPTIONS)
        return grpc.aio.insecure_channel(address, options=_OPTIONS)


async def introduce(store: Metastore, address: str) -> None:
    """Tells the other servers where this one is reached; empty: nowhere."""
    if not address:
        text = "no listener has an address that other servers can call: give --advertise"
        _log.warning("server.unreachable", advice=text)
    host = socket.gethostname()
    record = ServerRecord(store.server_id, address, host, __version__, store.clock())
    await store.write_unversioned(lambda tx: tx.save_server(record))


def _credentials(config: ServerConfig) -> grpc.ChannelCredentials:
    """What other servers are known by; those that ask for certificates get this server's own."""
    authorities = None if config.peer_ca is None else read_pem(config.peer_ca)
    if config.tls_client_ca is None or config.tls_cert is None or config.tls_key is None:
        return grpc.ssl_channel_credentials(authorities)
    key, chain = read_pem(config.tls_key), read_pem(config.tls_cert)
    return grpc.ssl_channel_credentials(authorities, key, chain)


def _failure(peer: _Peer, error: grpc.aio.AioRpcError, name: str, attempt: int) -> SubgrpcError:
    told = dict(error.trailing_metadata() or ()).get(DETAILS_KEY, b"")
    found = from_status(error.code(), error.details() or "", told)
    if isinstance(found, _PASSED_ON):
        return found
    if not peer.away:
        peer.away = datetime.now(timezone.utc).isoformat(timespec="seconds")
    where = f"the server on {peer.record.host} ({peer.record.address})"
    return _unavailable(f"{where}, away since {peer.away}: {found.message}", name, attempt)


def _unavailable(where: str, name: str, attempt: int) -> Unavailable:
    text = f"the output of {name}, attempt {attempt}, is kept by {where}"
    return Unavailable(text, reason="LOGS_UNAVAILABLE", retry_after=RETRY)
