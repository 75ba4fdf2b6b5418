"""What is done for experiments while their cluster has no driver: all that needs none.

What may have something in the backend waits until the driver is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from subgrpc import reasons
from subgrpc.engine.context import micros
from subgrpc.engine.start import end_idle, queue_time_left, queue_timeout_message
from subgrpc.engine.waits import Waits
from subgrpc.journal import JournalStore
from subgrpc.metastore import Fence, Metastore
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment


class Caretaker:
    """Looks after the experiments of one cluster, by whoever leads it."""

    def __init__(self, store: Metastore, journals: JournalStore, fence: Fence) -> None:
        self._store = store
        self._journals = journals
        self._fence = fence
        self._waits = Waits()

    async def attend(self, uids: Iterable[str]) -> None:
        """Removes, cancels or times out those of these experiments of which nothing can run.

        Raises:
            Unavailable: the metastore or the disk cannot be used now.
            Aborted: another server leads this cluster.
        """
        for uid in uids:
            raw = await self._store.get_experiment_by_uid(uid)
            if raw is not None:
                await self._attend(Experiment.FromString(raw))
            await asyncio.sleep(0)  # there may be thousands

    async def _attend(self, experiment: Experiment) -> None:
        uid = experiment.uid
        rows = await self._store.attempts(uid)
        if experiment.state == api.EXPERIMENT_STATE_DELETING:
            if all(row.settled for row in rows):
                await asyncio.to_thread(self._journals.delete, uid)
                await self._store.write(lambda tx: tx.delete_experiment(uid), fence=self._fence)
        elif experiment.state == api.EXPERIMENT_STATE_CANCELLING:
            if all(row.end_time is not None for row in rows):
                state = api.EXPERIMENT_STATE_CANCELLED
                await self._end(uid, state, experiment.reason, experiment.message)
        elif experiment.state == api.EXPERIMENT_STATE_QUEUED:
            since = micros(experiment.create_time)
            waits = queue_time_left(self._waits, experiment, since, self._store.clock())
            if not rows and waits <= 0:
                message = queue_timeout_message(experiment)
                await self._end(uid, api.EXPERIMENT_STATE_FAILED, reasons.QUEUE_TIMEOUT, message)

    async def _end(
        self, uid: str, state: api.ExperimentState.ValueType, reason: str, message: str
    ) -> None:
        await self._store.write(
            lambda tx: end_idle(tx, uid, state, reason, message), fence=self._fence
        )
