"""Leads one cluster: its driver, its lease, its watch, its workers, and what is published about it.

A driver that cannot be made, started or reached makes its own cluster unhealthy, with the reason,
and nothing else: it is tried again until it works, and experiments stay QUEUED meanwhile.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from subgrpc import names
from subgrpc.config import ClusterSettings
from subgrpc.driver import ClusterConfig, Driver, DriverDescription, Gone, Observation
from subgrpc.engine.absent import Caretaker
from subgrpc.engine.collector import LogCollector
from subgrpc.engine.context import Context
from subgrpc.engine.reconcile import Reconciler
from subgrpc.engine.record import ClusterRecord
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
from subgrpc.metastore import Fence, Metastore
from subgrpc.plugins import PluginManager
from subgrpc.secrets import FileSecrets
from subgrpc.v1.cluster_service_pb2 import Cluster, ClusterHealth
from subgrpc.v1.experiment_service_pb2 import Experiment
from subgrpc.workloads import build_workload

WORKERS = 16
"""Experiments of one cluster that are worked on at the same time."""
DESCRIBE_EVERY = 5.0
"""Seconds between two looks at what a cluster has room for."""
EXPLAIN_EVERY = 1.0
"""Seconds until an experiment that comes while the driver is away says why it waits."""
FIRST_BACKOFF = 0.2
LAST_BACKOFF = 30.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a cluster is led with.

    Attributes:
        holder: who leads, for the lease.
        data_dir: the folder below which each cluster's driver has its own.
    """

    store: Metastore
    journals: JournalStore
    plugins: PluginManager
    secrets: FileSecrets
    holder: str
    data_dir: Path


class ClusterController:
    """Leads one cluster from `start` to `stop`."""

    def __init__(
        self, name: str, settings: ClusterSettings | None, parts: Parts, *, default: bool
    ) -> None:
        """Settings are None for a cluster that has experiments, but is configured no more."""
        self.name = name
        self.ready = asyncio.Event()
        """Set once the first try to start the driver has come to an end, well or not."""
        self._settings = settings
        self._parts = parts
        self._default = default
        self._queue = WorkQueue()
        self._driver: Driver | None = None
        self._description = DriverDescription()
        self._record: ClusterRecord
        self._leader: asyncio.Task[None] | None = None
        self._waiting: set[str] = set()

    def wake(self, uid: str) -> None:
        """An experiment of this cluster was changed."""
        self._queue.add(uid)
        if self._driver is None:
            self._waiting.add(uid)  # nobody works: see `_attend_waiting`

    async def start(self) -> None:
        """Takes the lease, publishes the cluster and begins to lead it."""
        store, holder = self._parts.store, self._parts.holder
        epoch = await store.write_unversioned(lambda tx: tx.acquire_lease(self.name, holder))
        cluster = Cluster(
            name=names.cluster_name(self.name),
            driver=self._settings.driver if self._settings else "",
            default=self._default,
            health=ClusterHealth.CLUSTER_HEALTH_STARTING,
        )
        fence = Fence(self.name, epoch)
        self._record = ClusterRecord(store, fence, cluster)
        await self._record.publish()
        self._leader = asyncio.create_task(self._lead(fence), name=f"cluster {self.name}")

    async def stop(self) -> None:
        """Stops leading; what runs goes on."""
        if self._leader is not None:
            self._leader.cancel()
            await asyncio.gather(self._leader, return_exceptions=True)
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
            await self._driver.validate(workload)
        except InvalidSpec as error:
            violations = [_in_spec(each, self._driver.name) for each in error.violations]
            raise InvalidSpec(violations=violations, reason=error.reason) from error
        except Unavailable as error:
            _log.warning("cluster.validate", cluster=self.name, error=error.message)

    async def _lead(self, fence: Fence) -> None:
        try:
            backoff = FIRST_BACKOFF
            caretaker = Caretaker(self._parts.store, self._parts.journals, fence)
            time = asyncio.get_running_loop().time
            while True:
                began = time()
                await self._lead_until_failure(fence)
                self.ready.set()
                if time() - began > LAST_BACKOFF:
                    backoff = FIRST_BACKOFF
                await self._attend_waiting(caretaker, backoff)
                backoff = min(backoff * 2, LAST_BACKOFF)
        except Aborted as error:
            _log.error("cluster.lease_lost", cluster=self.name, error=error.message)
        finally:
            await self._parts.store.write_unversioned(
                lambda tx: tx.release_lease(self.name, fence.epoch)
            )

    async def _lead_until_failure(self, fence: Fence) -> None:
        try:
            await self._work_with_driver(fence)
        except SubgrpcError as error:
            _pass_on_lost_lease(error)
            await self._record.fails(_word(error.reason), error.message)
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
            )
            self._driver = driver
            self._waiting.clear()  # the watch's first sync has all of them worked on
            reconciler = Reconciler(context)
            await _first_failure(
                [
                    self._watch(driver, reconciler),
                    self._describe(driver),
                    *(self._work(reconciler) for _ in range(WORKERS)),
                ]
            )
        finally:
            self._driver = None
            await collector.close()
            await driver.close()

    async def _open_driver(self) -> Driver:
        if self._settings is None:
            text = "it is not configured any more; its experiments wait until it is again"
            raise FailedPrecondition(text, reason="NOT_CONFIGURED")
        data_dir = self._parts.data_dir / self.name
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        kind = self._parts.plugins.driver(self._settings.driver)
        driver = kind.from_config(ClusterConfig(self.name, str(data_dir), self._settings.options))
        await driver.start()
        return driver

    async def _watch(self, driver: Driver, reconciler: Reconciler) -> None:
        """Follows the driver's watch; the cluster is unhealthy until it is synced."""
        backoff = FIRST_BACKOFF
        while True:
            seen: set[str] = set()
            try:
                async for item in driver.watch(self._parts.store.identity.control_plane_id):
                    if isinstance(item, Observation):
                        seen.add(item.run.experiment_uid)
                        reconciler.observe(item)
                    elif isinstance(item, Gone):
                        reconciler.gone(item.run)
                    else:
                        await reconciler.synced(seen)
                        seen, backoff = set(), FIRST_BACKOFF
                        await self._refresh(driver)
                        self.ready.set()
                text = f"the watch of driver {driver.name} ended"
                raise Unavailable(text, reason="WATCH_ENDED")
            except Unavailable as error:
                await self._record.fails(_word(error.reason), error.message)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LAST_BACKOFF)

    async def _describe(self, driver: Driver) -> None:
        while True:
            await asyncio.sleep(DESCRIBE_EVERY)
            if self._record.healthy:
                try:
                    description = await driver.describe()
                    if self._record.healthy:  # the watch may have failed meanwhile
                        await self._publish(description)
                except Unavailable as error:
                    _log.warning("cluster.describe", cluster=self.name, error=error.message)

    async def _work(self, reconciler: Reconciler) -> None:
        while True:
            uid = await self._queue.get()
            try:
                await reconciler.reconcile(uid)
                self._queue.forget(uid)
            except Unavailable as error:
                delay = self._queue.retry(uid)
                _log.warning("reconcile.retry", uid=uid, error=error.message, delay=round(delay, 2))
            except Exception as error:
                _pass_on_lost_lease(error)
                delay = self._queue.retry(uid)
                _log.exception("reconcile.failed", uid=uid, delay=round(delay, 2))
            finally:
                self._queue.done(uid)

    async def _refresh(self, driver: Driver) -> None:
        """Publishes that the cluster works, with what the driver says of itself now."""
        await self._publish(await driver.describe())

    async def _publish(self, description: DriverDescription) -> None:
        self._description.CopyFrom(description)
        await self._record.works(description)


async def _first_failure(jobs: Sequence[object]) -> None:
    """Runs endless jobs until one of them fails, ends the others, and raises its error."""
    tasks = [asyncio.ensure_future(job) for job in jobs]  # type: ignore[call-overload]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _pass_on_lost_lease(error: Exception) -> None:
    """Raises an error again if another server leads; drivers abort for other reasons."""
    if isinstance(error, Aborted) and error.reason == "LEASE_LOST":
        raise error


def _in_spec(violation: FieldViolation, driver: str) -> FieldViolation:
    """A violation of a workload as one of the spec that it was made from."""
    field = re.sub(r"^groups\b", "task_groups", violation.field)
    field = re.sub(r"^options\b", f"driver_options[{driver}]", field)
    return replace(violation, field=field)


def _word(reason: str) -> str:
    """`DATA_DIR_LOCKED` as `DataDirLocked`."""
    return "".join(part.capitalize() for part in reason.split("_"))
