"""Stores the outputs of attempts as artifacts: each once, and again after every crash.

What was taken stays in its backend until the experiment's record names the artifact, so that this
may be broken off anywhere: the same output gets the same name, and what is there is found again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from subgrpc import faults, names, reasons
from subgrpc.driver import (
    Driver,
    OutputKey,
    Run,
    SupportsOutputs,
    TaskKey,
    TaskOutput,
)
from subgrpc.ending import end
from subgrpc.engine import keeping
from subgrpc.engine.collector import RunKey, run_key
from subgrpc.engine.content import Artifacts, Content
from subgrpc.engine.keeping import NOTHING, Kept, Stored
from subgrpc.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    RetryableError,
    SubgrpcError,
    Unavailable,
)
from subgrpc.quantities import show_bytes
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentOutput
from subgrpc.v1.spec_pb2 import Output
from subgrpc.v1.types_pb2 import TaskStatus

AT_ONCE = 2
"""Outputs of one cluster that are stored at the same time."""
FIRST_BACKOFF = 0.5
LAST_BACKOFF = 30.0
"""Seconds between two tries while the store cannot be used."""
PROGRESS_EVERY = 2.0
"""Seconds between two reports of how far it is."""
SECOND_LOOK = 1.0
"""Seconds between the two times that a backend must say that it has nothing of a task."""
LOOK_EVERY = (1.0, 30.0)
"""Least and most seconds between two looks for checkpoints: half of their interval."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Job:
    """One attempt's outputs.

    Attributes:
        tasks: those that may have made some.
        succeeded: how the attempt ended; None: it has not.
        complete: nothing is left to be stored.
        recorded: the newest sequence that the experiment's record names, by output and task.
        refused: why something never can be stored.
        missed: since when (loop time) the backend says that it has nothing of a task.
        bell: set when there may be more to do.
    """

    run: Run
    experiment: Experiment
    tasks: Sequence[TaskStatus] = ()
    succeeded: bool | None = None
    complete: bool = False
    stored: dict[tuple[str, str], Stored] = field(default_factory=dict)
    recorded: dict[tuple[str, str], int] = field(default_factory=dict)
    doing: str = ""
    trouble: str = ""
    failure: tuple[str, str] | None = None
    refused: dict[OutputKey, str] = field(default_factory=dict)
    missed: dict[TaskKey, float] = field(default_factory=dict)
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    work: asyncio.Task[None] | None = None

    def kept(self) -> Kept:
        """How far it is."""
        waits = "" if self.complete else self.doing or "its outputs are being stored"
        return Kept(tuple(self.stored.values()), waits, self.trouble, self.failure)


class OutputKeeper:
    """Stores the outputs of every attempt of one cluster."""

    def __init__(
        self, driver: Driver, artifacts: Artifacts | None, changed: Callable[[str], None]
    ) -> None:
        """`changed` is called with an experiment's uid when there is something to record."""
        able = isinstance(driver, SupportsOutputs) and artifacts is not None
        self._driver = driver if isinstance(driver, SupportsOutputs) else None
        self._artifacts = artifacts if able else None
        self._changed = changed
        self._jobs: dict[RunKey, _Job] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    @property
    def keeps_artifacts(self) -> bool:
        """Whether there is a place for them."""
        return self._artifacts is not None

    def follow(self, run: Run, experiment: Experiment, tasks: Sequence[TaskStatus]) -> Kept:
        """Stores the checkpoints of an attempt under way; returns how far that is."""
        if not any(each.HasField("interval") for each in experiment.spec.outputs):
            return NOTHING
        return self._ensure(run, experiment, tasks).kept()

    def finish(
        self, run: Run, experiment: Experiment, tasks: Sequence[TaskStatus], *, succeeded: bool
    ) -> Kept:
        """Stores what an attempt whose tasks are over has left; returns how far that is."""
        if not experiment.spec.outputs or self._artifacts is None:
            return NOTHING
        job = self._ensure(run, experiment, tasks)
        if job.succeeded != succeeded:
            was, job.succeeded = job.succeeded, succeeded
            job.complete, job.failure = False, None
            job.bell.set()
            if was:  # it was cancelled: what only success would have kept is given up
                self._begin(job)
        return job.kept()

    def recorded(self, run: Run, experiment: Experiment) -> None:
        """The record of an experiment names these outputs now: its backend need not keep them."""
        job = self._jobs.get(run_key(run))
        if job is None:
            return
        for each in experiment.outputs:
            place = each.output, each.task
            if each.attempt == run.attempt and job.recorded.get(place) != each.sequence:
                job.recorded[place] = each.sequence
                job.bell.set()

    async def forget(self, run: Run) -> None:
        """Ends the work for an attempt: it is over, or nobody wants its outputs any more."""
        job = self._jobs.pop(run_key(run), None)
        if job is not None and job.work is not None:
            await end([job.work])

    async def close(self) -> None:
        """Ends all work; another keeper goes on."""
        jobs, self._jobs = list(self._jobs.values()), {}
        await end([job.work for job in jobs if job.work is not None])

    def _ensure(self, run: Run, experiment: Experiment, tasks: Sequence[TaskStatus]) -> _Job:
        job = self._jobs.get(run_key(run))
        if job is None:
            job = self._jobs[run_key(run)] = _Job(run, experiment)
            self.recorded(run, experiment)
            self._begin(job)
        job.experiment, job.tasks = experiment, list(tasks)
        return job

    def _begin(self, job: _Job) -> None:
        """Begins the work for an attempt, once what was begun before has ended."""
        name = f"outputs {job.run.experiment_uid}/{job.run.attempt}"
        job.work = asyncio.create_task(self._work(job, job.work), name=name)

    async def _work(self, job: _Job, before: asyncio.Task[None] | None) -> None:
        """Stores what there is, again and again, until the attempt is over and all is stored."""
        if before is not None:
            await end([before])
        backoff = FIRST_BACKOFF
        while True:
            job.bell.clear()
            ended, pause = job.succeeded, _look_every(job.experiment)
            try:
                await self._store_all(job)
                job.trouble, backoff = "", FIRST_BACKOFF
                if ended is not None and ended == job.succeeded:
                    await self._complete(job)
                    pause = math.inf
            except Exception as error:
                pause = self._troubled(job, error, backoff)
                backoff = min(backoff * 2, LAST_BACKOFF)
            self._changed(job.run.experiment_uid)
            await _ring(job.bell, pause)

    async def _complete(self, job: _Job) -> None:
        """All that there was is stored: what is to be a version of a model becomes one."""
        if job.succeeded and job.failure is None:
            stored = [each.output for each in job.stored.values()]
            missing = keeping.missing(job.experiment, job.tasks, stored)
            refused = next(iter(job.refused.values()), "")
            if missing and refused:
                job.failure = reasons.OUTPUT_FAILED, refused
            elif missing:
                job.failure = reasons.OUTPUT_MISSING, missing
            else:
                await self._register(job)
        job.complete, job.doing = True, ""

    async def _register(self, job: _Job) -> None:
        assert self._artifacts is not None
        experiment = job.experiment
        for model, each in keeping.unregistered(experiment, job.stored.values()):
            output = ExperimentOutput()
            output.CopyFrom(each.output)
            name = keeping.model_name(experiment, model)
            try:
                output.model_version = await self._artifacts.register(
                    name, output.artifact, experiment.creator
                )
            except (InvalidArgument, NotFound) as error:
                text = f"output {output.output!r} cannot be a version of {name}: {error.message}"
                job.failure = reasons.OUTPUT_FAILED, text
                return
            faults.point("output.registered")
            job.stored[output.output, output.task] = replace(each, output=output)

    def _troubled(self, job: _Job, error: Exception, backoff: float) -> float:
        """Notes why it does not go on; returns the seconds until the next try."""
        key = run_key(job.run)
        if isinstance(error, SubgrpcError):
            _log.warning("outputs.retry", run=key, error=error.message)
            job.trouble = f"{error.message} (it is tried again)"
        else:
            _log.error("outputs.failed", run=key, exc_info=error)
            job.trouble = f"{type(error).__name__} (it is tried again; see the server's log)"
        after = error.retry_after if isinstance(error, RetryableError) else None
        return max(backoff, after or 0.0)

    async def _store_all(self, job: _Job) -> None:
        """Stores all that was taken so far and is wanted, in order, once."""
        assert self._driver is not None
        for output, task in _sources(job):
            try:
                taken = await self._driver.outputs(job.run, task)
            except NotFound as error:
                self._missed(job, task, error)
                continue
            job.missed.pop(task, None)
            for each in taken:
                if each.name == output.name:
                    await self._attend(job, output, task, each)

    def _missed(self, job: _Job, task: TaskKey, error: NotFound) -> None:
        """The backend says that it has no such run; if it says so twice, `_complete` sees to it."""
        now = asyncio.get_running_loop().time()
        if now < job.missed.setdefault(task, now) + SECOND_LOOK:
            raise Unavailable(error.message, reason=error.reason, retry_after=SECOND_LOOK)

    async def _attend(self, job: _Job, output: Output, task: TaskKey, taken: TaskOutput) -> None:
        """Stores one that is not stored, and releases a checkpoint that is recorded."""
        assert self._driver is not None
        place = output.name, str(task)
        known = job.stored.get(place)
        recorded = job.recorded.get(place, 0)
        key = OutputKey(task, output.name, taken.sequence)
        succeeded = job.succeeded is not False
        if not taken.final and taken.sequence <= recorded:
            faults.point("output.recorded")
            await self._driver.release_output(job.run, key)
            return
        is_new = known is None or known.output.sequence < taken.sequence
        wanted = keeping.is_wanted(output, final=taken.final, succeeded=succeeded)
        if is_new and wanted and key not in job.refused:
            await self._store(job, output, key, taken)

    async def _store(self, job: _Job, output: Output, key: OutputKey, taken: TaskOutput) -> None:
        assert self._driver is not None
        assert self._artifacts is not None
        experiment = job.experiment
        source = keeping.source_of(
            experiment, job.run.attempt, output.name, key.task, taken.sequence
        )
        content = Content(self._driver, job.run, key, taken.size_bytes)
        content.progressed = self._reporter(job, content)
        job.doing = _progress(content)
        team_and_id = names.parse_experiment(experiment.name)
        try:
            async with self._slots:
                faults.point("output.storing")
                made = await self._artifacts.store(
                    keeping.artifact_name(source),
                    content,
                    source=source,
                    creator=experiment.creator,
                    display_name=f"{team_and_id.experiment}/{output.name}",
                    labels=output.labels,
                )
        except (InvalidArgument, AlreadyExists) as error:
            _log.error("outputs.refused", run=run_key(job.run), error=error.message)
            text = f"output {output.name!r} of task {key.task} cannot be stored: {error.message}"
            job.refused[key] = text
            return
        faults.point("output.stored")
        job.stored[output.name, str(key.task)] = Stored(
            ExperimentOutput(
                output=output.name,
                task=str(key.task),
                attempt=job.run.attempt,
                sequence=taken.sequence,
                artifact=made.name,
                file_count=made.file_count,
                size_bytes=made.size_bytes,
            ),
            "; ".join(taken.problems),
        )
        self._changed(experiment.uid)
        if not taken.final:
            for name in keeping.outdated(source, output.keep_last):
                await self._artifacts.remove(name)

    def _reporter(self, job: _Job, content: Content) -> Callable[[], None]:
        """What is called for each piece that was read: tells now and then how far it is."""
        time = asyncio.get_running_loop().time
        told = time()

        def progressed() -> None:
            nonlocal told
            if time() - told > PROGRESS_EVERY:
                told, job.doing, job.trouble = time(), _progress(content), ""
                self._changed(job.run.experiment_uid)

        return progressed


def _sources(job: _Job) -> list[tuple[Output, TaskKey]]:
    """The outputs of tasks that have started."""
    started = {(task.role, task.index) for task in job.tasks if task.HasField("start_time")}
    found = []
    for output in job.experiment.spec.outputs:
        if job.succeeded is None and not output.HasField("interval"):
            continue
        found += [(output, t) for t in keeping.makers(job.experiment, output) if t in started]
    return found


def _progress(content: Content) -> str:
    key = content.key
    far = f"{show_bytes(content.done)} of {show_bytes(content.size)}"
    return f"storing output {key.output!r} of task {key.task}: {far}"


def _look_every(experiment: Experiment) -> float:
    intervals = [
        each.interval.ToTimedelta().total_seconds()
        for each in experiment.spec.outputs
        if each.HasField("interval")
    ]
    least, most = LOOK_EVERY
    return min(max(min(intervals, default=most) / 2, least), most)


async def _ring(bell: asyncio.Event, seconds: float) -> None:
    """Waits for a bell, or some time."""
    try:
        await asyncio.wait_for(bell.wait(), seconds if seconds < math.inf else None)
    except (TimeoutError, asyncio.TimeoutError):
        return
