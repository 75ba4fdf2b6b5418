"""Leads one cluster: its driver, its lease, its watch, its workers, and what is published about it.

A driver that cannot be made, started or reached makes its own cluster unhealthy, with the reason,
and nothing else: it is tried again until it works, and experiments stay QUEUED meanwhile.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from subgrpc import names
from subgrpc.config import ClusterSettings
from subgrpc.driver import ClusterConfig, Driver, DriverDescription
from subgrpc.ending import PATIENT, end
from subgrpc.engine.absent import Caretaker
from subgrpc.engine.collector import LogCollector
from subgrpc.engine.content import Artifacts
from subgrpc.engine.context import Context
from subgrpc.engine.fetching import ArtifactReader, InputFetcher
from subgrpc.engine.keeper import OutputKeeper
from subgrpc.engine.leadership import Candidate, Leadership
from subgrpc.engine.record import ClusterRecord
from subgrpc.engine.session import (
    FIRST_BACKOFF,
    LAST_BACKOFF,
    Session,
    first_failure,
    in_words,
    pass_on_lost_lease,
)
from subgrpc.engine.workqueue import WorkQueue
from subgrpc.errors import (
    Aborted,
    FailedPrecondition,
    FieldViolation,
    InvalidSpec,
    SubgrpcError,
    Unavailable,
)
from subgrpc.journal import JournalStore
from subgrpc.metastore import Fence, Lease, Metastore
from subgrpc.plugins import PluginManager
from subgrpc.secrets import FileSecrets
from subgrpc.v1.cluster_service_pb2 import Cluster, ClusterHealth
from subgrpc.v1.experiment_service_pb2 import Experiment
from subgrpc.workloads import build_workload, check_abilities

EXPLAIN_EVERY = 1.0
"""Seconds until an experiment that comes while the driver is away says why it waits."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a cluster is led with.

    Attributes:
        server: the id of the server that leads.
        lease_length: in seconds.
        data_dir: the folder below which each cluster's driver has its own.
        artifacts: where outputs are stored; None: nowhere.
        inputs: where inputs are read from; given if `artifacts` is.
    """

    store: Metastore
    journals: JournalStore
    plugins: PluginManager
    secrets: FileSecrets
    server: str
    lease_length: float
    data_dir: Path
    artifacts: Artifacts | None = None
    inputs: ArtifactReader | None = None


class ClusterController:
    """Leads one cluster from `start` to `stop`."""

    def __init__(
        self, name: str, settings: ClusterSettings | None, parts: Parts, *, default: bool
    ) -> None:
        """Settings are None for a cluster that has experiments, but is configured no more."""
        self.name = name
        self.ready = asyncio.Event()
        """Set once the first try to start the driver has come to its end, or another leads."""
        self._settings = settings
        self._parts = parts
        self._default = default
        self._queue = WorkQueue()
        self._driver: Driver | None = None
        self._description = DriverDescription()
        self._record: ClusterRecord
        self._leadership: Leadership
        self._leads = False
        self._leader: asyncio.Task[None] | None = None
        self._waiting: set[str] = set()

    def wake(self, uid: str) -> None:
        """An experiment of this cluster was changed; whoever leads it looks at it."""
        if not self._leads:
            return
        self._queue.add(uid)
        if self._driver is None:
            self._waiting.add(uid)  # nobody works: see `_attend_waiting`

    async def start(self) -> None:
        """Begins to lead the cluster, or to wait until no other server does.

        Raises:
            Unavailable: the metastore cannot be used now.
        """
        parts = self._parts
        candidate = Candidate(parts.server, self._home(), parts.lease_length)
        self._leadership = Leadership(parts.store, self.name, candidate)
        fence = None if parts.store.shared else await self._leadership.acquire(self._wait)
        self._leader = asyncio.create_task(self._stand(fence), name=f"cluster {self.name}")

    async def stop(self) -> None:
        """Stops leading; what runs goes on."""
        if self._leader is not None:
            await end([self._leader], PATIENT)
        self._queue.close()

    async def validate(self, experiment: Experiment) -> None:
        """Asks the driver whether it can run an experiment; not if it is away: it is asked again.

        Raises:
            InvalidSpec: it never can; field paths start at `experiment.spec`.
        """
        if self._driver is None:
            return
        workload = build_workload(
            experiment,
            control_plane_id=self._parts.store.identity.control_plane_id,
            attempt=1,
            driver=self._driver.name,
            default_request=self._description.default_request,
        )
        try:
            keeps = self._parts.artifacts is not None
            check_abilities(workload, self._driver, keeps_artifacts=keeps)
            await self._driver.validate(workload)
        except InvalidSpec as error:
            violations = [_in_spec(each, self._driver.name) for each in error.violations]
            raise InvalidSpec(violations=violations, reason=error.reason) from error
        except Unavailable as error:
            _log.warning("cluster.validate", cluster=self.name, error=error.message)

    def _wait(self, lease: Lease) -> None:
        """Another server leads."""
        if not self.ready.is_set():
            _log.info("cluster.follows", cluster=self.name, leader=lease.holder)
        self.ready.set()

    async def _stand(self, fence: Fence | None) -> None:
        """Leads whenever no other server does; where none can, until the lease is lost."""
        while True:
            pause = 0.0
            try:
                fence = fence or await self._leadership.acquire(self._wait)
                self._leads = True
                await first_failure([self._leadership.keep(fence), self._lead(fence)], PATIENT)
            except Aborted as error:
                _log.error("cluster.lease_lost", cluster=self.name, error=error.message)
                if not self._parts.store.shared:
                    return
            except Unavailable as error:
                _log.warning("cluster.gives_way", cluster=self.name, error=error.message)
                pause = 2 * self._parts.lease_length
            finally:
                self._leads = False
                if fence is not None:
                    await self._release(fence)
            fence = None
            self._queue.close()
            self._queue = WorkQueue()
            await asyncio.sleep(pause)

    async def _release(self, fence: Fence) -> None:
        try:
            await self._leadership.release(fence)
        except Unavailable as error:
            _log.warning("lease.release", cluster=self.name, error=error.message)

    async def _lead(self, fence: Fence) -> None:
        """Publishes the cluster, and works with its driver again and again.

        Raises:
            Aborted: LEASE_LOST.
            Unavailable: nothing of that was possible for long; another server may have more luck.
        """
        cluster = Cluster(
            name=names.cluster_name(self.name),
            driver=self._settings.driver if self._settings else "",
            default=self._default,
            health=ClusterHealth.CLUSTER_HEALTH_STARTING,
        )
        self._record = ClusterRecord(self._parts.store, fence, cluster)
        await self._record.publish()
        now = asyncio.get_running_loop().time
        backoff = FIRST_BACKOFF
        caretaker = Caretaker(self._parts.store, self._parts.journals, fence)
        while True:
            began = now()
            await self._lead_until_failure(fence)
            self.ready.set()
            if now() - began > LAST_BACKOFF:
                backoff = FIRST_BACKOFF
            if self._parts.store.shared and backoff > self._parts.lease_length:
                raise Unavailable(f"{cluster.name} cannot be led from here", reason="NO_DRIVER")
            await self._attend_waiting(caretaker, backoff)
            backoff = min(backoff * 2, LAST_BACKOFF)

    async def _lead_until_failure(self, fence: Fence) -> None:
        try:
            await self._work_with_driver(fence)
        except SubgrpcError as error:
            pass_on_lost_lease(error)
            await self._record.fails(in_words(error.reason), error.message)
        except Exception as error:
            _log.exception("cluster.failed", cluster=self.name)
            await self._record.fails("DriverError", f"{type(error).__name__}: {error}")

    async def _attend_waiting(self, caretaker: Caretaker, seconds: float) -> None:
        """Waits; experiments get what needs no driver, and new ones are told why they wait."""
        time = asyncio.get_running_loop().time
        until = time() + seconds
        try:
            await caretaker.attend(await self._parts.store.unsettled(self.name))
        except Unavailable as error:
            _log.warning("cluster.attend", cluster=self.name, error=error.message)
        while (left := until - time()) > 0:
            await asyncio.sleep(min(left, EXPLAIN_EVERY))
            waiting, self._waiting = self._waiting, set()
            if not waiting:
                continue
            try:
                await caretaker.attend(waiting)
                await self._record.explain(waiting)
            except Unavailable as error:
                self._waiting |= waiting
                _log.warning("cluster.attend", cluster=self.name, error=error.message)

    async def _work_with_driver(self, fence: Fence) -> None:
        """Runs the cluster's experiments until something fails."""
        parts = self._parts
        driver = await self._open_driver()
        collector = LogCollector(driver, parts.journals, self._queue.add)
        outputs = OutputKeeper(driver, parts.artifacts, self._queue.add)
        inputs = InputFetcher(driver, parts.inputs, self._queue.add)
        try:
            self._description = await driver.describe()
            context = Context(
                store=parts.store,
                driver=driver,
                description=self._description,
                journals=parts.journals,
                secrets=parts.secrets,
                queue=self._queue,
                fence=fence,
                collector=collector,
                outputs=outputs,
                inputs=inputs,
                leadership=self._leadership,
                server=parts.server,
            )
            self._driver = driver
            self._waiting.clear()  # the watch's first sync has all of them worked on
            await Session(context, self._record, self.ready).run()
        finally:
            self._driver = None
            await collector.close()
            await outputs.close()
            await inputs.close()
            await driver.close()

    def _home(self) -> str:
        """Where the cluster's runs live; empty, too, if its driver cannot be had (yet)."""
        if self._settings is None:
            return ""
        try:
            return self._parts.plugins.driver(self._settings.driver).home(self._config())
        except SubgrpcError as error:
            _log.error("cluster.home", cluster=self.name, error=error.message)
            return ""

    def _config(self) -> ClusterConfig:
        """What the driver is made from."""
        options = self._settings.options if self._settings else {}
        return ClusterConfig(self.name, str(self._parts.data_dir / self.name), options)

    async def _open_driver(self) -> Driver:
        if self._settings is None:
            text = "it is not configured any more; its experiments wait until it is again"
            raise FailedPrecondition(text, reason="NOT_CONFIGURED")
        config = self._config()
        (self._parts.data_dir / self.name).mkdir(parents=True, exist_ok=True, mode=0o700)
        driver = self._parts.plugins.driver(self._settings.driver).from_config(config)
        await driver.start()
        return driver


def _in_spec(violation: FieldViolation, driver: str) -> FieldViolation:
    """A violation of a workload as one of the spec that it was made from."""
    field = re.sub(r"^groups\b", "task_groups", violation.field)
    field = re.sub(r"^options\b", f"driver_options[{driver}]", field)
    return replace(violation, field=field)
