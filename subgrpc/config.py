"""What a server is configured with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

DEFAULT_LISTEN = "127.0.0.1:7411"
"""Where a server listens, and a client looks for it, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """One cluster of the configuration.

    Attributes:
        driver: the name of the driver that runs it.
        options: the driver's own options.
    """

    driver: str
    options: Mapping[str, object] = field(default_factory=dict)


def _local() -> Mapping[str, ClusterSettings]:
    return {"local": ClusterSettings(driver="local")}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes at most.

    Attributes:
        message_bytes: greatest request. Larger ones end in RESOURCE_EXHAUSTED before they are read.
        calls: calls at the same time, streams included.
        calls_per_second: calls of one principal; bursts of twice as many.
        streams: open watches and logs of one principal.
        connection_streams: calls at the same time in one connection; more wait in the client.
    """

    message_bytes: int = 4 << 20
    calls: int = 20_000
    calls_per_second: float = 10_000
    streams: int = 10_000
    connection_streams: int = 10_000


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """A server's configuration.

    Attributes:
        data_dir: the folder that is this server's alone; it is made if it is not there.
        database: the URL of a PostgreSQL database, which several servers may share; empty: SQLite
            in the data folder. Not shown: it can hold a password.
        listen: `HOST:PORT` (port 0: a free one) or `unix:PATH`.
        tls_cert: PEM file with the server's certificate chain; with it every TCP listener uses TLS.
        tls_key: PEM file with its private key.
        tls_client_ca: PEM file with the authorities whose client certificates are asked for (mTLS).
        token_file: file of lines `TOKEN PRINCIPAL`; with it every call needs a bearer token.
        advertise: where other servers that share the database reach this one, `HOST:PORT` or
            `unix:PATH`; empty: at its first listener that is not all of the machine's addresses.
        artifacts: the URL of the artifact store, the same for all servers of a control plane;
            empty: a folder in the data folder.
        artifact_options: the store's own options.
        log_cache: bytes of logs that stay on this server's disk though the artifact store has them.
        log_retention: how long after its end an attempt's log is kept; None: for ever.
        peer_ca: PEM file with the authorities of other servers' certificates; None: gRPC's own.
        clusters: the clusters by name.
        default_cluster: where experiments run that name none; empty: the only one, or `local`.
        change_retention: how long changes are kept for watchers that resume.
        change_limit: for how many revisions they are kept, whichever is less.
        feed_size: how many changes are kept in memory as well.
        heartbeat: seconds of silence after which a stream gets a bookmark.
        drain: seconds that open calls have to end when the server stops.
        lease_length: seconds within which another server takes over a cluster when its leader dies.
        limits: what one server takes at most.
        docs_url: where the documentation is published, if it is: errors then link to their entry.
    """

    data_dir: Path
    database: str = field(default="", repr=False)
    listen: tuple[str, ...] = (DEFAULT_LISTEN,)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    token_file: Path | None = None
    advertise: str = ""
    peer_ca: Path | None = None
    artifacts: str = ""
    artifact_options: Mapping[str, str] = field(default_factory=dict)
    log_cache: int = 10 << 30
    log_retention: timedelta | None = None
    clusters: Mapping[str, ClusterSettings] = field(default_factory=_local)
    default_cluster: str = ""
    change_retention: timedelta = timedelta(hours=24)
    change_limit: int = 1_000_000
    feed_size: int = 10_000
    heartbeat: float = 15.0
    drain: float = 5.0
    lease_length: float = 5.0
    limits: Limits = field(default_factory=Limits)
    docs_url: str = ""

    def chosen_default(self) -> str:
        """The name of the default cluster; empty if there is none to choose."""
        if not self.default_cluster and len(self.clusters) == 1:
            return next(iter(self.clusters))
        return self.default_cluster or ("local" if "local" in self.clusters else "")
