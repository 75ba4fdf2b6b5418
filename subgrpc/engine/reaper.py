"""Removes workloads of this control plane that it does not know.

They come from a submit that was under way when its experiment was deleted, for example. Drivers
show a control plane its own workloads only. After a restore an unknown workload may belong to an
experiment that was created after the backup: then it is only reported, until an operator confirms
that the restored metastore is the truth.
"""

from __future__ import annotations

import asyncio

import structlog

from subgrpc.driver import Observation
from subgrpc.engine.collector import RunKey, run_key
from subgrpc.engine.context import Context

GRACE = 60.0
"""Seconds for which an unknown workload is left alone: its record may still be on its way."""

_log = structlog.get_logger(__name__)


class Reaper:
    """Looks after the unknown workloads of one cluster."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._seen: dict[RunKey, float] = {}
        self._told: set[RunKey] = set()

    async def consider(self, observation: Observation) -> bool:
        """Takes a workload whose experiment is not in the metastore.

        Returns:
            Whether it is gone; else it is to be considered again, when the queue says so.

        Raises:
            Unavailable: the backend cannot be reached.
            Aborted: LEASE_LOST.
        """
        context, run = self._context, observation.run
        key, now = run_key(run), asyncio.get_running_loop().time()
        left = self._seen.setdefault(key, now) + GRACE - now
        if left > 0:
            context.queue.add_later(run.experiment_uid, left)
            return False
        if await context.store.restored():
            if key not in self._told:
                self._told.add(key)
                _log.warning("workload.unknown", uid=key[0], attempt=key[1])
            context.queue.add_later(run.experiment_uid, GRACE)
            return False
        await context.backend().delete(run)
        _log.warning("workload.removed", uid=key[0], attempt=key[1])
        self._seen.pop(key, None)
        self._told.discard(key)
        return True
