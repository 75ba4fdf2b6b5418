"""What is left to do after an attempt: its last output, its backend's objects, its removal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from subgrpc import faults
from subgrpc.driver import Run
from subgrpc.engine.context import Context, key_of
from subgrpc.engine.handover import keep_journal
from subgrpc.metastore import AttemptRow, Transaction
from subgrpc.v1.experiment_service_pb2 import Experiment
from subgrpc.v1.types_pb2 import TaskState, TaskStatus


async def settle(context: Context, row: AttemptRow) -> bool:
    """Once all output of an ended attempt is in its journal, its backend is cleaned up.

    Returns:
        Whether that is done.
    """
    if row.settled:
        return True
    run = context.run(row)
    if not row.logs_complete:
        if not await _collect_rest(context, row, run):
            return False
        if context.store.shared:
            # Another server may have to go on from here: it must not look for output, and find
            # none, in a backend that is cleaned up.
            await _store(context, row, settled=False)
    await context.backend().delete(run)
    faults.point("backend.cleaned")
    await _store(context, row, settled=True)
    context.memory.forget_run(run)
    return True


async def _collect_rest(context: Context, row: AttemptRow, run: Run) -> bool:
    """Whether all output is in the journal."""
    known = await context.store.task_statuses(row.experiment_uid, row.number)
    await keep_journal(context, row)
    context.collector.ensure(run, [key_of(task) for task in known if _may_have_output(task)])
    if not context.collector.finished(run):
        return False
    faults.point("logs.collected")
    await context.collector.seal(run)
    faults.point("logs.sealed")
    return True


async def _store(context: Context, row: AttemptRow, *, settled: bool) -> None:
    def mutate(tx: Transaction) -> None:
        stored = tx.attempt(row.experiment_uid, row.number)
        if stored is not None:
            stored.logs_complete, stored.settled = True, settled
            tx.save_attempt(stored)

    await context.store.write_unversioned(mutate, fence=context.fence)
    faults.point("attempt.settled")


async def remove(context: Context, experiment: Experiment, rows: Sequence[AttemptRow]) -> None:
    """Deletes everything of a DELETING experiment whose attempts are over; the record goes last."""
    for row in rows:
        run = context.run(row)
        await context.collector.abandon(run)
        await context.outputs.forget(run)
        if not row.settled:
            await context.backend().delete(run)
        context.memory.forget_run(run)
    faults.point("removal.backend")
    await asyncio.to_thread(context.journals.delete, experiment.uid)
    faults.point("removal.journals")
    await context.store.write(lambda tx: tx.delete_experiment(experiment.uid), fence=context.fence)
    context.forget(experiment.uid)


def _may_have_output(task: TaskStatus) -> bool:
    """Whether a task may have written anything: one that was stopped in the queue has not."""
    return task.state != TaskState.TASK_STATE_CANCELLED or task.HasField("start_time")
