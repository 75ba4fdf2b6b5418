"""Starts attempts: stored with their handle, then submitted, and again after a crash."""

from __future__ import annotations

import math
from typing import TypeAlias

import structlog

from subgrpc import faults, reasons
from subgrpc.engine import lifecycle
from subgrpc.engine.collector import run_key
from subgrpc.engine.context import Context, micros, store_experiment, store_step, timestamp
from subgrpc.engine.waits import Waits
from subgrpc.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from subgrpc.metastore import AttemptRow, Transaction
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment
from subgrpc.workloads import check_abilities

Refusal: TypeAlias = "AlreadyExists | InvalidArgument | NotFound | FailedPrecondition"
"""Why a workload can never run as it is."""

_log = structlog.get_logger(__name__)


async def start_or_wait(
    context: Context, experiment: Experiment, previous: AttemptRow | None
) -> None:
    """Starts the next attempt of a QUEUED experiment that has none under way, when it is time."""
    wait = _backoff_left(context, experiment, previous)
    if wait > 0:
        context.queue.add_later(experiment.uid, wait)
        return
    if previous is None and queue_timeout_over(context, experiment, micros(experiment.create_time)):
        await conclude(
            context,
            experiment.uid,
            api.EXPERIMENT_STATE_FAILED,
            reasons.QUEUE_TIMEOUT,
            queue_timeout_message(experiment),
        )
        return
    number = experiment.attempt + 1
    try:
        workload = context.workload(experiment, number)
        keeps = context.outputs.keeps_artifacts
        check_abilities(workload, context.driver, keeps_artifacts=keeps)
        await context.driver.validate(workload)
        context.read_secrets(workload)
    except (InvalidArgument, NotFound, FailedPrecondition) as error:
        await conclude(
            context, experiment.uid, api.EXPERIMENT_STATE_FAILED, _refusal(error), error.message
        )
        return
    if await _waits_for_inputs(context, experiment):
        return
    handle = await context.driver.prepare(workload)
    faults.point("attempt.prepared")
    row = await context.store.write(
        lambda tx: _begin(tx, experiment.uid, number, context, handle),
        fence=context.fence,
    )
    if row is not None:
        faults.point("attempt.stored")
        await submit(context, experiment, row)
        context.queue.add(experiment.uid)


async def _waits_for_inputs(context: Context, experiment: Experiment) -> bool:
    """Whether the backend lacks inputs of an experiment, which are being fetched or cannot be."""
    if not experiment.inputs:
        return False
    uid = experiment.uid
    try:
        waits = await context.inputs.waits(experiment)
    except (NotFound, DataLoss) as error:
        failed = api.EXPERIMENT_STATE_FAILED
        await conclude(context, uid, failed, reasons.INPUT_FAILED, error.message)
        return True

    def explain(tx: Transaction) -> None:
        current = tx.experiment(uid)
        if current is not None and current.state == api.EXPERIMENT_STATE_QUEUED:
            current.reason, current.message = reasons.FETCHING_INPUTS, waits
            tx.save_experiment(current)

    if waits:
        await context.store.write(explain, fence=context.fence)
    return bool(waits)


async def submit(context: Context, experiment: Experiment, row: AttemptRow) -> None:
    """Hands a stored attempt that the driver does not have to it, or ends it if it is refused."""
    error = await _submit(context, experiment, row)
    if error is not None:
        await _end_refused(context, row, _refusal(error), error.message)


async def hand_over(context: Context, experiment: Experiment, row: AttemptRow) -> None:
    """Gives the driver a run that it has, again; some of its tasks may be running."""
    error = await _submit(context, experiment, row)
    if error is not None:
        await give_up(context, row, _refusal(error), error.message)


async def give_up(
    context: Context,
    row: AttemptRow,
    reason: str,
    message: str,
    *,
    latest: api.ExperimentState.ValueType = api.EXPERIMENT_STATE_RUNNING,
) -> None:
    """Has an attempt stopped: the experiment FAILED once it is, unless it is beyond `latest`."""

    def mutate(tx: Transaction) -> None:
        experiment = tx.experiment(row.experiment_uid)
        stored = tx.attempt(row.experiment_uid, row.number)
        if experiment is None or stored is None or stored.end_time is not None:
            return
        if experiment.state <= latest and not stored.stopping:
            experiment.reason, experiment.message = reason, message
            stored.stopping = reason
            tx.save_attempt(stored)
            tx.save_experiment(experiment)

    await context.store.write(mutate, fence=context.fence)
    context.queue.add(row.experiment_uid)


async def conclude(
    context: Context, uid: str, state: api.ExperimentState.ValueType, reason: str, message: str
) -> None:
    """Ends an experiment that has no attempt under way, unless it changed in the meantime."""
    await context.store.write(
        lambda tx: end_idle(tx, uid, state, reason, message), fence=context.fence
    )
    context.queue.add(uid)


def end_idle(
    tx: Transaction, uid: str, state: api.ExperimentState.ValueType, reason: str, message: str
) -> None:
    """Stores the end of an experiment without an attempt under way, if that is still wanted."""
    current = tx.experiment(uid)
    wanted = (
        api.EXPERIMENT_STATE_CANCELLING
        if state == api.EXPERIMENT_STATE_CANCELLED
        else api.EXPERIMENT_STATE_QUEUED
    )
    if current is not None and current.state == wanted:
        step = lifecycle.Step(current)
        lifecycle.conclude(step, state, reason, message, timestamp(tx.now))
        store_experiment(tx, step)


def queue_timeout_over(context: Context, experiment: Experiment, since: int) -> bool:
    """Whether it has waited too long since `since` (µs); else it is looked at again in time."""
    left = queue_time_left(context.memory.waits, experiment, since, context.store.clock())
    if 0 < left < math.inf:
        context.queue.add_later(experiment.uid, left)
    return left <= 0


def queue_time_left(waits: Waits, experiment: Experiment, since: int, now: int) -> float:
    """Seconds for which it may wait on, if it waits since `since` (µs)."""
    if not experiment.spec.HasField("queue_timeout"):
        return math.inf
    limit = experiment.spec.queue_timeout.ToTimedelta().total_seconds()
    return waits.left(experiment.uid, since, limit, now)


def queue_timeout_message(experiment: Experiment) -> str:
    """Why it failed, with what it was waiting for."""
    limit = experiment.spec.queue_timeout.ToTimedelta().total_seconds()
    text = f"it did not start within its queue_timeout of {limit:g} s"
    return f"{text}: {experiment.message}" if experiment.message else text


async def _submit(context: Context, experiment: Experiment, row: AttemptRow) -> Refusal | None:
    """Submits an attempt; returns why the driver refuses it, or we cannot ask."""
    run = context.run(row)
    try:
        workload = context.workload(experiment, row.number)
        await context.backend().submit(workload, run, context.read_secrets(workload))
    except (AlreadyExists, InvalidArgument, NotFound, FailedPrecondition) as error:
        _log.error("submit.refused", experiment=experiment.name, error=error.message)
        return error
    except Unavailable as error:
        if error.reason == "INPUT_MISSING":  # it was forgotten since it was fetched
            await context.inputs.waits(experiment)
        raise
    faults.point("attempt.submitted")
    context.memory.submitted.add(run_key(run))
    return None


def _backoff_left(context: Context, experiment: Experiment, previous: AttemptRow | None) -> float:
    """Seconds until the next attempt may start, by the retry policy."""
    if previous is None or previous.end_time is None:
        return 0.0
    backoff = lifecycle.backoff(experiment.spec.retry_policy, previous.number).total_seconds()
    now = context.store.clock()
    return context.memory.waits.left(experiment.uid, previous.end_time, backoff, now)


def _refusal(error: Exception) -> str:
    if isinstance(error, InvalidArgument):
        return reasons.INVALID_SPEC
    if isinstance(error, AlreadyExists):
        return reasons.DRIVER_ERROR
    return reasons.SECRET_NOT_FOUND


def _begin(
    tx: Transaction, uid: str, number: int, context: Context, handle: bytes
) -> AttemptRow | None:
    """Stores a new attempt with its handle; None if the experiment no longer waits for it."""
    experiment = tx.experiment(uid)
    if (
        experiment is None
        or experiment.state != api.EXPERIMENT_STATE_QUEUED
        or experiment.attempt != number - 1
    ):
        return None
    row = AttemptRow(
        experiment_uid=uid,
        number=number,
        cluster=context.fence.cluster,
        handle=handle,
        create_time=tx.now,
        journal_server=context.server,
    )
    created = lifecycle.begin_attempt(experiment, number)
    tx.insert_attempt(row)
    tx.add_event(uid, created)
    tx.save_experiment(experiment)
    return row


async def _end_refused(context: Context, row: AttemptRow, reason: str, message: str) -> None:
    """The driver refuses a run that is stored: nothing of it runs, and trying again is useless."""

    def mutate(tx: Transaction) -> None:
        experiment = tx.experiment(row.experiment_uid)
        stored = tx.attempt(row.experiment_uid, row.number)
        if experiment is None or stored is None or stored.end_time is not None:
            return
        step = lifecycle.Step(experiment)
        if experiment.state == api.EXPERIMENT_STATE_CANCELLING:
            lifecycle.conclude(
                step,
                api.EXPERIMENT_STATE_CANCELLED,
                experiment.reason,
                experiment.message,
                timestamp(tx.now),
            )
        elif experiment.state != api.EXPERIMENT_STATE_DELETING:
            lifecycle.conclude(
                step, api.EXPERIMENT_STATE_FAILED, reason, message, timestamp(tx.now)
            )
        stored.end_time, stored.reason, stored.message = tx.now, reason, message
        store_step(tx, stored, step)

    await context.store.write(mutate, fence=context.fence)
    context.queue.add(row.experiment_uid)
