"""Attends to an attempt under way: looks at its run, stores what changed, stops what must end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from subgrpc import reasons
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
from subgrpc.engine.start import queue_timeout_message, queue_timeout_over, submit
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
        await submit(context, experiment, row)
    step = await _apply(context, experiment, row, observation)
    if step is None:
        return
    started = [key_of(task) for task in observation.tasks if _has_output(task)]
    if started:
        context.collector.ensure(run, started)
    if step.ended:
        context.queue.add(experiment.uid)
    elif unwanted(step.experiment, row):
        await _stop(context, run, (), step.experiment)
    elif step.stop:
        await _stop(context, run, step.stop, step.experiment)
    elif step.experiment.state <= api.EXPERIMENT_STATE_STARTING:
        await _end_long_wait(context, step.experiment, row)


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
        known = context.store.task_statuses(uid, row.number)
        if known or run_key(run) in memory.submitted:
            return _missing(context, experiment, run, known)
        if unwanted(experiment, row):
            return Observation(run=run, tasks=never_started(experiment))
        # It was stored, and the server died before the driver had it.
        await submit(context, experiment, row)
        context.queue.add(uid)
        return None
    memory.missed.pop(uid, None)
    memory.observed[uid] = observation
    return observation


def _missing(
    context: Context, experiment: Experiment, run: Run, known: Sequence[TaskStatus]
) -> Observation | None:
    """The backend says that a run which it had is gone: true when it says so twice."""
    missed = context.memory.missed.get(experiment.uid, 0) + 1
    context.memory.missed[experiment.uid] = missed
    if missed < 2:
        context.queue.add_later(experiment.uid, SECOND_LOOK)
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
    step = lifecycle.advance(
        experiment,
        context.store.task_statuses(uid, number),
        observation,
        now=timestamp(time.time_ns() // 1000),
        stopping=row.stopping,
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
        )
        if fresh.experiment.HasField("start_time"):
            stored.start_time = micros(fresh.experiment.start_time)
        if fresh.ended:
            stored.end_time = tx.now
            stored.reason, stored.message = fresh.experiment.reason, fresh.experiment.message
        store_step(tx, stored, fresh)
        return fresh

    return await context.store.write(mutate, fence=context.fence)


async def _stop(
    context: Context, run: Run, tasks: Sequence[TaskKey], experiment: Experiment
) -> None:
    """Asks for a stop, and again should the tasks be there long after the grace period."""
    key, now = (run_key(run), not tasks), asyncio.get_running_loop().time()
    if now < context.memory.stop_asked.get(key, now):
        return
    grace = grace_of(experiment)
    await context.driver.stop(run, tasks, grace=grace)
    wait = grace.total_seconds() + STOP_AGAIN
    context.memory.stop_asked[key] = now + wait
    context.queue.add_later(run.experiment_uid, wait)


async def _end_long_wait(context: Context, experiment: Experiment, row: AttemptRow) -> None:
    """Stops an attempt whose queue_timeout is over."""
    if not queue_timeout_over(context, experiment, row.create_time):
        return

    def mutate(tx: Transaction) -> None:
        current = tx.experiment(row.experiment_uid)
        stored = tx.attempt(row.experiment_uid, row.number)
        if current is None or stored is None or stored.end_time is not None:
            return
        if current.state <= api.EXPERIMENT_STATE_STARTING:
            message = queue_timeout_message(current)
            current.reason, current.message = reasons.QUEUE_TIMEOUT, message
            stored.stopping = reasons.QUEUE_TIMEOUT
            tx.save_attempt(stored)
            tx.save_experiment(current)

    await context.store.write(mutate, fence=context.fence)
    context.queue.add(experiment.uid)


def _has_output(task: TaskStatus) -> bool:
    return task.state >= TaskState.TASK_STATE_STARTING
