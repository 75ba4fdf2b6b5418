"""The server: puts everything together, starts it, and stops it in good order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc
import grpc.aio
import structlog

from subgrpc import __version__
from subgrpc.config import ServerConfig
from subgrpc.ending import PATIENT, end
from subgrpc.engine import Engine, EngineSettings
from subgrpc.journal import JournalStore
from subgrpc.metastore import Metastore
from subgrpc.plugins import PluginManager
from subgrpc.rpc.artifacts import artifact_use_cases, open_storage
from subgrpc.rpc.auth import make_authenticator
from subgrpc.rpc.gate import Gate
from subgrpc.rpc.hop import Hops
from subgrpc.rpc.listen import (
    advertised,
    bind,
    check_advertise,
    check_secure,
    parse_listener,
    server_credentials,
)
from subgrpc.rpc.peers import PeerServers, introduce
from subgrpc.rpc.register import register
from subgrpc.rpc.servicers import cluster_use_cases, experiment_use_cases, model_use_cases
from subgrpc.rpc.standard import Health, add_diagnostics
from subgrpc.secrets import FileSecrets
from subgrpc.services.artifacts.garbage import Collector
from subgrpc.services.artifacts.inputs import InputArtifacts
from subgrpc.services.artifacts.outputs import OutputArtifacts
from subgrpc.services.clusters import ClusterCatalog
from subgrpc.services.experiments import Experiments
from subgrpc.services.history import History
from subgrpc.services.log_store import LogStore
from subgrpc.services.logs import Logs
from subgrpc.services.model_aliases import ModelAliases
from subgrpc.services.model_versions import ModelVersions
from subgrpc.services.models import Models
from subgrpc.services.watch import Watches
from subgrpc.tokens import TokenCodec
from subgrpc.v1 import (
    artifact_service_pb2,
    cluster_service_pb2,
    experiment_service_pb2,
    model_registry_service_pb2,
)
from subgrpc.v1.experiment_service_pb2 import Experiment

EXPERIMENTS = experiment_service_pb2.DESCRIPTOR.services_by_name["ExperimentService"]
ARTIFACTS = artifact_service_pb2.DESCRIPTOR.services_by_name["ArtifactService"]
CLUSTERS = cluster_service_pb2.DESCRIPTOR.services_by_name["ClusterService"]
MODELS = model_registry_service_pb2.DESCRIPTOR.services_by_name["ModelRegistryService"]
SERVICES = tuple(each.full_name for each in (EXPERIMENTS, CLUSTERS, ARTIFACTS, MODELS))

MAX_RESPONSE = 16 << 20
"""Greatest message that is sent. Lists end at 3 MiB, and one experiment has less than 1 MiB."""

UPLOAD_WINDOW = 1 << 20
"""Bytes that a stream may send before they are read."""

QUIET_SECONDS = 0.02
"""So long nobody must have called before the listeners are closed."""
QUIET_LOOKS = 10
"""So often that is waited for."""

GARBAGE = 10_000
"""Objects that may have come before garbage is looked for; Python's 700 are a call or two."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Clusters:
    """The clusters as the use cases see them."""

    engine: Engine
    clusters: Collection[str]
    default_cluster: str

    async def validate(self, cluster: str, experiment: Experiment) -> None:
        await self.engine.validate(cluster, experiment)

    def wake(self, experiment: Experiment) -> None:
        self.engine.wake(experiment.uid, experiment.cluster)


class Server:
    """One server of a control plane; `start` and `stop` are called once each, on one event loop."""

    def __init__(self, config: ServerConfig, *, plugins: PluginManager | None = None) -> None:
        """Makes it; nothing is opened yet.

        Args:
            config: its configuration.
            plugins: where drivers come from; the installed ones by default.
        """
        self.addresses: tuple[str, ...] = ()
        """Where it listens, with the ports that it got; filled by `start`."""
        self._config = config
        self._plugins = plugins or PluginManager()
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Opens the data folder, binds the listeners, leads the clusters, and serves.

        Raises:
            FailedPrecondition: DATA_DIR_LOCKED, ADDRESS_IN_USE, INSECURE_LISTENER, and others: the
                configuration and this machine do not go together. Nothing stays open.
            DataLoss: the metastore is damaged; it was left as it is.
        """
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        _log.info("server.ready", version=__version__, addresses=self.addresses)

    async def stop(self) -> None:
        """Lets open calls end, then closes everything. Experiments go on."""
        _log.info("server.stopping")
        await self._stack.aclose()
        _log.info("server.stopped")

    async def _start(self) -> None:
        config = self._config
        listeners = [parse_listener(text) for text in config.listen]
        check_secure(listeners, config)
        if config.advertise:
            check_advertise(config.advertise)
        credentials = server_credentials(config)
        gate = Gate(make_authenticator(config), config.limits, config.docs_url)
        config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        store = await Metastore.open(
            config.data_dir,
            database=config.database,
            feed_size=config.feed_size,
            change_retention=config.change_retention,
            change_limit=config.change_limit,
        )
        self._stack.push_async_callback(store.close)
        server = grpc.aio.server(
            options=_options(config), maximum_concurrent_rpcs=config.limits.calls
        )
        self._stack.push_async_callback(server.stop, None)
        health = Health(server, gate, SERVICES)
        # Bound before anything is led: a port that is taken must not cost experiments anything.
        self.addresses = tuple(bind(server, each, credentials) for each in listeners)
        journals = JournalStore(config.data_dir / "journals")
        secrets = FileSecrets(config.data_dir / "secrets")
        storage = open_storage(config, store, self._plugins)
        self._stack.push_async_callback(storage.close)
        inputs = InputArtifacts(store, storage)
        engine = Engine(
            metastore=store,
            journals=journals,
            plugins=self._plugins,
            secrets=secrets,
            settings=EngineSettings(
                clusters=config.clusters,
                default_cluster=config.chosen_default(),
                data_dir=config.data_dir / "drivers",
                server=store.server_id,
                lease_length=config.lease_length,
            ),
            artifacts=OutputArtifacts(store, storage),
            inputs=inputs,
        )
        tokens = TokenCodec(store.identity.token_key, store.identity.history_id)
        collector = Collector(store, storage)
        artifacts = artifact_use_cases(storage, store, tokens, gate.draining, collector)
        log_store = LogStore(
            storage,
            store,
            journals,
            cache_size=config.log_cache,
            retention=config.log_retention,
        )
        self._stack.push_async_callback(log_store.stop)
        peers = None
        if store.shared:
            gate.hops = Hops(tokens, store.server_id)
            peers = PeerServers(store, gate.hops, config)
            self._stack.push_async_callback(peers.close)
            await introduce(store, advertised(config, listeners, self.addresses))
        clusters = _Clusters(engine, frozenset(config.clusters), config.chosen_default())
        watches = Watches(store, tokens, gate.draining, config.heartbeat)
        experiments = experiment_use_cases(
            Experiments(store, tokens, clusters, secrets, inputs),
            History(store, tokens),
            watches,
            Logs(store, journals, tokens, config.heartbeat, peers, log_store.cache),
            gate.draining,
        )
        register(server, EXPERIMENTS, experiments, gate)
        register(server, CLUSTERS, cluster_use_cases(ClusterCatalog(store, tokens)), gate)
        register(server, ARTIFACTS, artifacts, gate)
        models = model_use_cases(
            Models(store, tokens), ModelVersions(store, tokens), ModelAliases(store), watches
        )
        register(server, MODELS, models, gate)
        add_diagnostics(server, SERVICES, gate)
        self._stack.push_async_callback(engine.stop)
        await engine.start()
        await log_store.start()
        await server.start()
        storage.spawn(storage.ready())  # Its log says what is wrong before anybody needs it.
        self._stack.push_async_callback(end, (asyncio.create_task(collector.run()),), PATIENT)
        self._stack.push_async_callback(self._drain, server, gate, health)
        await health.serving()

    async def _drain(self, server: grpc.aio.Server, gate: Gate, health: Health) -> None:
        """Says that the server stops, ends the streams, and lets open calls end, for a while."""
        # Somebody who watches health and does not read must not hold up the rest.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(health.stopping(), 1.0)
        gate.draining.set()
        await _quiet(gate)
        await server.stop(self._config.drain)


def run(
    config: ServerConfig,
    ready: Callable[[Server], None],
    *,
    plugins: PluginManager | None = None,
) -> None:
    """Runs a server in the foreground until SIGTERM or SIGINT.

    Args:
        config: its configuration.
        ready: called once it serves.
        plugins: where drivers come from; the installed ones by default.

    Raises:
        SubgrpcError: as `Server.start`.
    """
    try:
        import uvloop
    except ImportError:  # not made for every platform
        asyncio.run(_run(config, ready, plugins))
    else:
        uvloop.run(_run(config, ready, plugins))


async def _run(
    config: ServerConfig, ready: Callable[[Server], None], plugins: PluginManager | None
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = Server(config, plugins=plugins)
    await server.start()
    # What was loaded so far stays: it need not be searched for garbage again and again, and what
    # calls leave behind is seldom any.
    gc.freeze()
    gc.set_threshold(GARBAGE)
    try:
        ready(server)
        await stop.wait()
    finally:
        await server.stop()


async def _quiet(gate: Gate) -> None:
    """Waits a moment for calls that are on their way: gRPC would cancel them, not refuse them."""
    for _ in range(QUIET_LOOKS):
        before = gate.calls
        await asyncio.sleep(QUIET_SECONDS)
        if gate.calls == before:
            return


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    limits = config.limits
    return [
        # Else a second server shares the port, and callers get one or the other by chance.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", MAX_RESPONSE),
        ("grpc.max_concurrent_streams", limits.connection_streams),
        # What an upload may have on its way to us. gRPC would let it grow with the speed of the
        # line, to many MiB for each stream; this much is 20 MB/s for each at 50 ms.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", UPLOAD_WINDOW),
        ("grpc.enable_channelz", 1),
        # Streams may be silent for long: pings find callers that are gone, and callers may ping.
        ("grpc.keepalive_time_ms", 30_000),
        # On a thin line the answer stands behind what is being sent.
        ("grpc.keepalive_timeout_ms", 30_000),
        ("grpc.http2.ping_timeout_ms", 30_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ]
