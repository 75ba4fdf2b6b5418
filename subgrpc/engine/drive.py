"""Attends to an attempt under way: looks at its run, stores what changed, stops what must end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from subgrpc import faults, reasons
from subgrpc.driver import Observation, Run, TaskKey
from subgrpc.engine import lifecycle
from subgrpc.engine.collector import run_key
from subgrpc.engine.context import (
    Context,
    key_of,
    micros,
    store_step,
    timestamp,
    unwanted,
)
from subgrpc.engine.handover import keep_journal
from subgrpc.engine.keeping import NOTHING, Kept
from subgrpc.engine.start import (
    give_up,
    hand_over,
    queue_timeout_message,
    queue_timeout_over,
    submit,
)
from subgrpc.engine.tasks import lose_tasks, never_started
from subgrpc.errors import NotFound
from subgrpc.metastore import AttemptRow, Transaction
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment
from subgrpc.v1.types_pb2 import TaskState, TaskStatus
from subgrpc.workloads import grace_of

SECOND_LOOK = 1.0
"""Seconds between the two times that a backend must say "not found" before a run is lost."""
STOP_AGAIN = 30.0
"""Seconds beyond the grace period after which a stop is asked for again."""


async def drive(context: Context, experiment: Experiment, row: AttemptRow) -> None:
    """Takes the current attempt a step further."""
    run = context.run(row)
    observation = await _look(context, experiment, row, run)
    if observation is None:
        return
    if _waits_unsubmitted(context, run, observation) and not unwanted(experiment, row):
        # The server was started anew: the driver gets the run again, with its secrets.
        await hand_over(context, experiment, row)
    step = await _apply(context, experiment, row, observation)
    if step is None:
        return
    context.outputs.recorded(run, step.experiment)
    if step.ended:
        await context.outputs.forget(run)
        context.queue.add(experiment.uid)
    elif unwanted(step.experiment, row):
        await _stop(context, run, (), step.experiment)
    elif step.stop:
        await _stop(context, run, step.stop, step.experiment)
    elif step.experiment.state <= api.EXPERIMENT_STATE_STARTING:
        await _end_long_wait(context, step.experiment, row)
    # Last: a disk that is full for the journal must not keep anything from being stopped.
    started = [key_of(task) for task in observation.tasks if _has_output(task)]
    if started:
        await keep_journal(context, row)
        context.collector.ensure(run, started)


async def _look(
    context: Context, experiment: Experiment, row: AttemptRow, run: Run
) -> Observation | None:
    """What is known of a run; None if it has to be looked at again later."""
    uid, memory = experiment.uid, context.memory
    observation = memory.observed.get(uid)
    if observation is not None and observation.run.attempt == row.number:
        return observation
    try:
        observation = await context.driver.get(run)
    except NotFound:
        known = await context.store.task_statuses(uid, row.number)
        if known or run_key(run) in memory.submitted:
            return _missing(context, experiment, run, known)
        if unwanted(experiment, row):
            return Observation(run=run, tasks=never_started(experiment))
        # It was stored, and the server died before the driver had it.
        await submit(context, experiment, row)
        context.queue.add(uid)
        return None
    # Not kept as observed: what the watch said while we waited for this may be newer.
    memory.missed.pop(run_key(run), None)
    return observation


def _missing(
    context: Context, experiment: Experiment, run: Run, known: Sequence[TaskStatus]
) -> Observation | None:
    """The backend says that a run which it had is gone: true when it says so twice."""
    now = asyncio.get_running_loop().time()
    left = context.memory.missed.setdefault(run_key(run), now) + SECOND_LOOK - now
    if left > 0:
        context.queue.add_later(experiment.uid, left)
        return None
    text = f"the backend of {experiment.cluster} no longer knows this run"
    return Observation(run=run, tasks=lose_tasks(experiment, known, text))


def _waits_unsubmitted(context: Context, run: Run, observation: Observation) -> bool:
    queued = any(task.state == TaskState.TASK_STATE_QUEUED for task in observation.tasks)
    return queued and run_key(run) not in context.memory.submitted


async def _apply(
    context: Context, experiment: Experiment, row: AttemptRow, observation: Observation
) -> lifecycle.Step | None:
    """Stores what an observation changes; None if the attempt is over in the meantime."""
    uid, number = row.experiment_uid, row.number
    known = await context.store.task_statuses(uid, number)
    now = timestamp(context.store.clock())
    step = lifecycle.advance(experiment, known, observation, now=now, stopping=row.stopping)
    kept = _keep_outputs(context, experiment, row, observation, step)
    if kept is not NOTHING:
        step = lifecycle.advance(
            experiment, known, observation, now=now, stopping=row.stopping, kept=kept
        )
    if not (step.ended or step.tasks or step.experiment != experiment):
        return step

    def mutate(tx: Transaction) -> lifecycle.Step | None:
        current, stored = tx.experiment(uid), tx.attempt(uid, number)
        if current is None or stored is None or stored.end_time is not None:
            return None
        fresh = lifecycle.advance(
            current,
            tx.task_statuses(uid, number),
            observation,
            now=timestamp(tx.now),
            stopping=stored.stopping,
            kept=kept,
        )
        if fresh.experiment.HasField("start_time"):
            stored.start_time = micros(fresh.experiment.start_time)
        if fresh.ended:
            stored.end_time = tx.now
            stored.reason, stored.message = fresh.experiment.reason, fresh.experiment.message
        store_step(tx, stored, fresh)
        return fresh

    faults.point("observation.made")
    stored_step = await context.store.write(mutate, fence=context.fence)
    faults.point("observation.stored")
    return stored_step


def _keep_outputs(
    context: Context,
    experiment: Experiment,
    row: AttemptRow,
    observation: Observation,
    step: lifecycle.Step,
) -> Kept:
    """Has the outputs of an attempt stored; returns how far that is."""
    if not experiment.spec.outputs or experiment.state == api.EXPERIMENT_STATE_DELETING:
        return NOTHING
    run = context.run(row)
    if not step.ended:
        return context.outputs.follow(run, experiment, observation.tasks)
    succeeded = step.experiment.state == api.EXPERIMENT_STATE_SUCCEEDED
    return context.outputs.finish(run, experiment, observation.tasks, succeeded=succeeded)


async def _stop(
    context: Context, run: Run, tasks: Sequence[TaskKey], experiment: Experiment
) -> None:
    """Asks for a stop, and again should the tasks be there long after the grace period."""
    key, now = (run_key(run), not tasks), asyncio.get_running_loop().time()
    if (left := context.memory.stop_asked.get(key, now) - now) > 0:
        context.queue.add_later(run.experiment_uid, left)
        return
    grace = grace_of(experiment)
    backend = context.backend()
    faults.point("stop.wanted")
    await backend.stop(run, tasks, grace=grace)
    faults.point("stop.asked")
    wait = grace.total_seconds() + STOP_AGAIN
    context.memory.stop_asked[key] = now + wait
    context.queue.add_later(run.experiment_uid, wait)


async def _end_long_wait(context: Context, experiment: Experiment, row: AttemptRow) -> None:
    """Stops an attempt whose queue_timeout is over."""
    if queue_timeout_over(context, experiment, row.create_time):
        message = queue_timeout_message(experiment)
        await give_up(
            context, row, reasons.QUEUE_TIMEOUT, message, latest=api.EXPERIMENT_STATE_STARTING
        )


def _has_output(task: TaskStatus) -> bool:
    return task.state >= TaskState.TASK_STATE_STARTING
