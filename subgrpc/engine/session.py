"""One spell of work with an open driver: its watch, its workers, and what it says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from subgrpc.driver import DriverDescription, Gone, Observation
from subgrpc.ending import AGAIN, end
from subgrpc.engine.context import Context
from subgrpc.engine.reconcile import Reconciler
from subgrpc.engine.record import ClusterRecord
from subgrpc.errors import Aborted, Unavailable

WORKERS = 16
"""Experiments of one cluster that are worked on at the same time."""
DESCRIBE_EVERY = 5.0
"""Seconds between two looks at what a cluster has room for."""
LOOK_AT_ALL_EVERY = 30.0
"""Seconds between two looks at every experiment, where other servers change some."""
FIRST_BACKOFF = 0.2
LAST_BACKOFF = 30.0

_log = structlog.get_logger(__name__)


class Session:
    """Works with a cluster's driver until something fails."""

    def __init__(self, context: Context, record: ClusterRecord, ready: asyncio.Event) -> None:
        """`ready` is set when the driver's watch is synced."""
        self._context = context
        self._record = record
        self._ready = ready
        self._reconciler = Reconciler(context)

    async def run(self) -> None:
        """Runs the cluster's experiments; what fails is raised."""
        workers = (self._work() for _ in range(WORKERS))
        await first_failure([self._watch(), self._describe(), self._look_at_all(), *workers])

    async def _watch(self) -> None:
        """Follows the driver's watch; the cluster is unhealthy until it is synced."""
        backoff = FIRST_BACKOFF
        while True:
            seen: set[str] = set()
            try:
                async for item in self._context.driver.watch(
                    self._context.store.identity.control_plane_id
                ):
                    if isinstance(item, Observation):
                        seen.add(item.run.experiment_uid)
                        self._reconciler.observe(item)
                    elif isinstance(item, Gone):
                        self._reconciler.gone(item.run)
                    else:
                        await self._reconciler.synced(seen)
                        seen, backoff = set(), FIRST_BACKOFF
                        await self._refresh()
                        self._ready.set()
                text = f"the watch of driver {self._context.driver.name} ended"
                raise Unavailable(text, reason="WATCH_ENDED")
            except Unavailable as error:
                await self._record.fails(in_words(error.reason), error.message)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LAST_BACKOFF)

    async def _describe(self) -> None:
        while True:
            await asyncio.sleep(DESCRIBE_EVERY)
            if self._record.healthy:
                try:
                    description = await self._context.driver.describe()
                    if self._record.healthy:  # the watch may have failed meanwhile
                        await self._publish(description)
                except Unavailable as error:
                    _log.warning(
                        "cluster.describe", cluster=self._context.fence.cluster, error=error.message
                    )

    async def _look_at_all(self) -> None:
        """Looks at every experiment now and then, should another server's change be missed."""
        context = self._context
        while True:
            await asyncio.sleep(LOOK_AT_ALL_EVERY)
            if context.store.shared:
                for uid in await context.store.unsettled(context.fence.cluster):
                    context.queue.add(uid)

    async def _work(self) -> None:
        while True:
            uid = await self._context.queue.get()
            try:
                await self._reconciler.reconcile(uid)
                self._context.queue.forget(uid)
            except Unavailable as error:
                delay = self._context.queue.retry(uid)
                _log.warning("reconcile.retry", uid=uid, error=error.message, delay=round(delay, 2))
            except Exception as error:
                pass_on_lost_lease(error)
                delay = self._context.queue.retry(uid)
                _log.exception("reconcile.failed", uid=uid, delay=round(delay, 2))
            finally:
                self._context.queue.done(uid)

    async def _refresh(self) -> None:
        """Publishes that the cluster works, with what the driver says of itself now."""
        await self._publish(await self._context.driver.describe())

    async def _publish(self, description: DriverDescription) -> None:
        self._context.description.CopyFrom(description)
        await self._record.works(description)


async def first_failure(jobs: Sequence[object], again: float = AGAIN) -> None:
    """Runs endless jobs until one of them fails, ends the others, and raises its error.

    Args:
        jobs: coroutines.
        again: see `subgrpc.ending.end`.
    """
    tasks = [asyncio.ensure_future(job) for job in jobs]  # type: ignore[call-overload]
    try:
        await asyncio.gather(*tasks)
    finally:
        await end(tasks, again)


def pass_on_lost_lease(error: Exception) -> None:
    """Raises an error again if another server leads; drivers abort for other reasons."""
    if isinstance(error, Aborted) and error.reason == "LEASE_LOST":
        raise error


def in_words(reason: str) -> str:
    """`DATA_DIR_LOCKED` as `DataDirLocked`."""
    return "".join(part.capitalize() for part in reason.split("_"))
