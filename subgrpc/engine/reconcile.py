"""Brings one experiment a step nearer to what is wanted of it: the only code that commands drivers.

Every step reads what is stored and what was observed, does one thing, stores it under the
cluster's fence, and can be repeated after a crash at any point:

- an attempt and its handle are stored before `submit`, which adopts what is there already;
- an outcome is stored before the backend's objects are deleted;
- an experiment is removed last.
"""

from __future__ import annotations

from collections.abc import Sequence

from subgrpc import names
from subgrpc.driver import Observation, Run
from subgrpc.engine import lifecycle
from subgrpc.engine.collector import run_key
from subgrpc.engine.context import Context
from subgrpc.engine.drive import drive
from subgrpc.engine.reaper import Reaper
from subgrpc.engine.settle import remove, settle
from subgrpc.engine.start import conclude, start_or_wait
from subgrpc.metastore import AttemptRow
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment


class Reconciler:
    """Reconciles the experiments of one cluster."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reaper = Reaper(context)
        self._cluster = names.cluster_name(context.fence.cluster)

    def observe(self, observation: Observation) -> None:
        """Takes what the driver's watch says of a run."""
        uid, memory = observation.run.experiment_uid, self._context.memory
        memory.missed.pop(run_key(observation.run), None)
        memory.observed[uid] = observation
        self._context.queue.add(uid)

    def gone(self, run: Run) -> None:
        """Takes it that, by the driver's watch, the backend no longer knows a run."""
        self._context.memory.observed.pop(run.experiment_uid, None)
        self._context.queue.add(run.experiment_uid)

    async def synced(self, seen: set[str]) -> None:
        """The watch has sent all there is: what it did not send is looked up one by one."""
        observed = self._context.memory.observed
        for uid in observed.keys() - seen:
            del observed[uid]
        for uid in await self._context.store.unsettled(self._context.fence.cluster):
            self._context.queue.add(uid)

    async def reconcile(self, uid: str) -> None:
        """Does what is to be done for an experiment now, and asks to be called again when more is.

        Raises:
            Unavailable: the driver, the metastore or the disk cannot be used now.
            Aborted: another server leads this cluster.
        """
        context = self._context
        raw = await context.store.get_experiment_by_uid(uid)
        if raw is None:
            await self._without_record(uid)
            return
        experiment = Experiment.FromString(raw)
        if experiment.cluster != self._cluster:
            context.forget(uid)
            return
        rows = await context.store.attempts(uid)
        current = rows[-1] if rows else None
        if current is not None and current.end_time is None:
            await drive(context, experiment, current)
        elif experiment.state == api.EXPERIMENT_STATE_DELETING:
            await remove(context, experiment, rows)
            return
        elif experiment.state == api.EXPERIMENT_STATE_CANCELLING:
            await conclude(
                context,
                uid,
                api.EXPERIMENT_STATE_CANCELLED,
                experiment.reason,
                experiment.message,
            )
        elif experiment.state == api.EXPERIMENT_STATE_QUEUED:
            await start_or_wait(context, experiment, current)
        await self._delete_late(uid, rows)
        settled = [await settle(context, row) for row in rows if row.end_time is not None]
        if experiment.state in lifecycle.TERMINAL and all(settled):
            context.forget(uid)  # a late observation of it may have come

    async def _without_record(self, uid: str) -> None:
        """The experiment is gone, or was never here."""
        observation = self._context.memory.observed.get(uid)
        if observation is None or await self._reaper.consider(observation):
            self._context.forget(uid)

    async def _delete_late(self, uid: str, rows: Sequence[AttemptRow]) -> None:
        """Removes a run that is there though its attempt is settled: its submit came late."""
        observed = self._context.memory.observed
        late = observed.get(uid)
        if late is None or not any(r.settled and r.number == late.run.attempt for r in rows):
            return
        await self._context.backend().delete(late.run)
        if observed.get(uid) is late:
            del observed[uid]
