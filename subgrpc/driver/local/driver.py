"""The driver `local`: every task is a process of this host, under a supervisor of its own.

Supervisors outlive the server; all that is known of a run stands in its folder, but for secrets,
which the server hands over again where a run still waits when it starts anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import structlog

import subgrpc
from subgrpc import faults
from subgrpc.agent import status as files
from subgrpc.driver import (
    ClusterConfig,
    Driver,
    DriverDescription,
    Gone,
    LogChunk,
    LogGap,
    Observation,
    Run,
    Synced,
    TaskKey,
    Workload,
)
from subgrpc.driver.local import demands, folders, output
from subgrpc.driver.local.admission import Ledger
from subgrpc.driver.local.cache import InputCache
from subgrpc.driver.local.feeds import Feed
from subgrpc.driver.local.folders import disk, run_key
from subgrpc.driver.local.host import Host, look
from subgrpc.driver.local.inputs import LocalInputs
from subgrpc.driver.local.launch import Launcher, check_secrets
from subgrpc.driver.local.notify import Notifier
from subgrpc.driver.local.options import (
    HostOptions,
    host_options,
    options_schema,
    runs_folder,
)
from subgrpc.driver.local.placement import Queue
from subgrpc.driver.local.registry import Registry
from subgrpc.driver.local.state import LocalRun, LocalTask, make_handle
from subgrpc.driver.local.supervision import Supervision
from subgrpc.driver.local.taken import LocalOutputs
from subgrpc.errors import AlreadyExists, FailedPrecondition, NotFound, Unavailable
from subgrpc.quantities import format_bytes, format_cpu
from subgrpc.v1.types_pb2 import LogStream, Resources

_TICK = 1.0
_LOOK_AT_ALL = 5
"""Ticks between two looks at every task, whatever the kernel told us."""
_EXPLAIN_ALL = 30
"""Ticks between two renewals of every waiting run's message."""

_log = structlog.get_logger(__name__)


class LocalDriver(LocalInputs, LocalOutputs, Driver):
    """Runs tasks as processes of the server's host."""

    name: ClassVar[str] = "local"
    delete_patience = 10.0
    """Seconds that a supervisor gets to kill its task, in `delete`, before it is killed itself."""

    def __init__(self, data_dir: Path, options: HostOptions) -> None:
        self._data_dir = data_dir
        self._options = options
        self._cache = InputCache(data_dir, options.input_cache)
        self._feeds: set[Feed] = set()
        self._notifier = Notifier(self._look_at_all)
        self._ticker: asyncio.Task[None] | None = None

    @classmethod
    def from_config(cls, config: ClusterConfig) -> LocalDriver:
        """Makes the driver; the options are `cpu`, `memory`, `gpus` or `gpu_ids`, and `folder`."""
        options = host_options(config.options)
        return cls(Path(runs_folder(config.options, config.data_dir)), options)

    @classmethod
    def home(cls, config: ClusterConfig) -> str:
        """This machine and the folder: the processes are here, and their files are there."""
        folder = os.path.realpath(runs_folder(config.options, config.data_dir))
        return f"{socket.gethostname()}:{folder}"

    async def start(self) -> None:
        """Takes up the runs of an earlier server."""
        if sys.platform != "linux":
            raise FailedPrecondition("the local driver needs Linux", reason="PLATFORM_UNSUPPORTED")
        with disk():
            self._host, launcher = await asyncio.to_thread(self._prepare_host)
        self._ledger = Ledger(self._host)
        self._queue = Queue(self._ledger)
        self._supervision = Supervision(
            self._host, launcher, self._notifier, socket.gethostname(), self._task_changed
        )
        self._notifier.start()
        self._runs = Registry(self._data_dir, self._queue, self._supervision)
        with disk():
            self._runs.load_all()
        self._ticker = asyncio.create_task(self._tick(), name="local driver")
        self._pump()

    async def close(self) -> None:
        """Lets go of everything; supervisors and their tasks go on."""
        if self._ticker is None:
            return
        self._ticker.cancel()
        await asyncio.gather(self._ticker, return_exceptions=True)
        self._ticker = None
        for feed in self._feeds:
            feed.close()
        await self._supervision.close()
        await self._notifier.close()

    async def describe(self) -> DriverDescription:
        """Says what this host has and what is taken."""
        host, used = self._host, self._ledger.used
        capabilities = ["inputs", "outputs", "separate-streams"]
        if host.gpus:
            capabilities.append("gpus")
        if host.cgroup:
            capabilities.append("memory-limit")
        return DriverDescription(
            driver=self.name,
            version=subgrpc.__version__,
            capabilities=capabilities,
            platform=f"{sys.platform}/{platform.machine()}",
            capacity=_resources(host.cpu, host.memory, len(host.gpus)),
            allocated=_resources(used.cpu, used.memory, used.gpus),
            default_request=demands.DEFAULT_REQUEST,
            options_schema=options_schema(),
        )

    async def validate(self, workload: Workload) -> None:
        """Checks that this host can run a workload when nothing else runs."""
        demands.check(workload, self._host)

    async def prepare(self, workload: Workload) -> bytes:
        """Returns where the run's folder will stand."""
        return make_handle(run_key(workload))

    async def submit(self, workload: Workload, run: Run, secrets: Mapping[str, bytes]) -> None:
        """Makes the run's folder and lets it wait for its turn, which may be now."""
        demands.check(workload, self._host)
        check_secrets(workload, secrets)
        known = self._find(run)
        if known is None:
            with disk():
                known = self._runs.create(workload)
            faults.point("local.created")
        elif known.deleting or known.vanished:
            raise Unavailable(f"the run {run_key(run)} is being deleted", reason="DELETING")
        elif not _same_work(known.workload, workload):
            text = f"the run {run_key(run)} was submitted before with a different workload"
            raise AlreadyExists(text, reason="RUN_EXISTS")
        # Without secrets it does not start: its inputs come first.
        await self.place_inputs(known)
        known.secrets = dict(secrets)
        if known.placed:
            for task in known.tasks.values():
                self._supervision.start(known, task)
        self._pump()

    async def get(self, run: Run) -> Observation:
        """Returns how a run stands, by its files."""
        known = self._known(run)
        for task in known.tasks.values():
            self._supervision.look(known, task)
        return known.observation()

    async def watch(self, control_plane_id: str) -> AsyncIterator[Observation | Synced | Gone]:
        """Yields every run, `Synced`, then each run that changes."""
        feed = Feed(control_plane_id)
        self._feeds.add(feed)
        try:
            for known in self._runs:
                if known.workload.control_plane_id == control_plane_id and not known.deleting:
                    yield known.observation()
            yield Synced()
            while not feed.closed:
                for run in await feed.next():
                    changed = self._runs.get(run_key(run))
                    yield Gone(run) if changed is None else changed.observation()
        finally:
            self._feeds.discard(feed)

    async def logs(
        self, run: Run, task: TaskKey, stream: LogStream.ValueType, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk | LogGap]:
        """Yields what the task wrote to a stream, from its file."""
        known, found = self._known_task(run, task)
        name = files.STDERR if stream == LogStream.LOG_STREAM_STDERR else files.STDOUT
        bell = asyncio.Event()
        found.bells.add(bell)
        try:
            with disk():
                async for piece in output.follow(
                    found.folder / name,
                    offset,
                    notifier=self._notifier if follow else None,
                    # Of a run that vanished no task ever ends.
                    ended=lambda: found.ended or self._runs.get(known.key) is not known,
                    bell=bell,
                ):
                    yield piece
        finally:
            found.bells.discard(bell)

    async def stop(self, run: Run, tasks: Sequence[TaskKey] = (), *, grace: timedelta) -> None:
        """Stops tasks; a run that still waits leaves the queue."""
        known = self._find(run)
        if known is None:
            return
        with disk():
            for task in known.select(tasks):
                self._supervision.stop(known, task, grace.total_seconds())
        self._pump()

    async def delete(self, run: Run) -> None:
        """Kills what still runs, and removes the run's folder."""
        known = self._find(run)
        if known is None:
            if demands.is_uid(run.experiment_uid):  # it may be there, but damaged
                with disk():
                    folder = self.folder_of(run)
                    await asyncio.to_thread(folders.discard_run, self._data_dir, folder)
            return
        known.deleting = True
        self._queue.remove(known)
        with disk():
            await self._end(known)
            await asyncio.to_thread(folders.discard_run, self._data_dir, known.folder)
        self._runs.forget(known)
        self._publish(known)
        self._pump()

    def folder_of(self, run: Run) -> Path:
        """Where everything of a run stands: for people, and for tests."""
        return self._data_dir / folders.relative_folder(run_key(run))

    def task_folder(self, run: Run, task: TaskKey) -> Path:
        """Where everything of a task stands."""
        return self._known_task(run, task)[1].folder

    def _prepare_host(self) -> tuple[Host, Launcher]:
        self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        folders.empty_trash(self._data_dir)
        return look(self._options), Launcher.create(self._data_dir)

    def _find(self, run: Run) -> LocalRun | None:
        with disk():
            return self._runs.find(run_key(run))

    def _known(self, run: Run) -> LocalRun:
        known = self._find(run)
        if known is None or known.deleting:
            text = f"there is no run {run.experiment_uid}/{run.attempt}"
            raise NotFound(text, reason="RUN_NOT_FOUND")
        return known

    def _known_task(self, run: Run, task: TaskKey) -> tuple[LocalRun, LocalTask]:
        known = self._known(run)
        found = known.tasks.get(TaskKey(*task))
        if found is None:
            raise NotFound(f"the run {run_key(run)} has no task {task}", reason="TASK_NOT_FOUND")
        return known, found

    async def _end(self, run: LocalRun) -> None:
        """Kills all tasks of a run and waits until they are gone."""
        for task in run.tasks.values():
            try:
                self._supervision.stop(run, task, 0.0)
            except OSError as error:  # a full disk is no reason to keep what fills it
                _log.warning("local.stop", folder=str(task.folder), error=str(error))
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(run.over.wait(), self.delete_patience)
        for task in run.tasks.values():
            if not (task.ended or await self._supervision.destroy(run, task)):
                text = f"processes of {task.folder} cannot be killed"
                raise Unavailable(text, reason="NOT_KILLED")

    def _task_changed(self, run: LocalRun, task: LocalTask) -> None:
        for bell in task.bells:
            bell.set()
        if task.ended:
            self._queue.ended(run, task)
            if all(each.ended for each in run.tasks.values()):
                run.over.set()
                run.secrets = {}
        self._publish(run)
        if task.ended:
            self._pump()

    def _publish(self, run: LocalRun) -> None:
        for feed in self._feeds:
            feed.push(run.run())

    def _pump(self) -> None:
        """Starts every run whose turn it is."""
        if self._ticker is None:  # not all runs are known yet, or no longer
            return
        try:
            placed = self._queue.place()
        except OSError as error:  # tried again with the next tick
            _log.warning("local.place", error=str(error))
            return
        for run in placed:
            faults.point("local.placed")
            for task in run.tasks.values():
                self._supervision.start(run, task)
                self._supervision.look(run, task)
        for run in self._queue.explain():
            self._publish(run)

    def _look_at_all(self) -> None:
        for run in self._runs:
            if not run.folder.exists() and not run.deleting:
                run.vanished = True  # see `_bury_vanished`
                continue
            for task in run.tasks.values():
                self._look(run, task)
                self._supervision.wake(task)

    def _look(self, run: LocalRun, task: LocalTask) -> None:
        try:
            self._supervision.look(run, task)
        except OSError as error:  # of one task: the others are looked at all the same
            _log.warning("local.look", folder=str(task.folder), error=str(error))

    def _look_at_unwatched(self) -> None:
        for run in self._runs:
            for task in run.tasks.values():
                if task.retry:
                    self._supervision.start(run, task)
                if not task.watched and not task.ended:
                    self._look(run, task)

    async def _bury_vanished(self) -> None:
        """Says of runs whose folder was removed that they are gone, once none of them runs."""
        for run in [run for run in self._runs if run.vanished and not run.deleting]:
            _log.error("run.vanished", folder=str(run.folder))
            tasks = [task for task in run.tasks.values() if not task.ended]
            if not all([await self._supervision.destroy(run, task) for task in tasks]):
                continue  # tried again with the next tick
            self._runs.forget(run)
            self._publish(run)
            for bell in [bell for task in run.tasks.values() for bell in task.bells]:
                bell.set()

    async def _tick(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(_TICK)
            ticks += 1
            self._supervision.reap()
            try:
                self._look_at_unwatched() if ticks % _LOOK_AT_ALL else self._look_at_all()
            except OSError as error:  # of a run's folder
                _log.warning("local.look", error=str(error))
            await self._bury_vanished()
            self._pump()
            if ticks % _EXPLAIN_ALL == 0:
                for run in self._queue.explain(everyone=True):
                    self._publish(run)


def _resources(cpu: int, memory: int, gpus: int) -> Resources:
    return Resources(cpu=format_cpu(cpu), memory=format_bytes(memory), gpus=gpus)


def _same_work(first: Workload, second: Workload) -> bool:
    """Whether two workloads do the same; labels may have changed since the first was made."""

    def essence(workload: Workload) -> bytes:
        copy = Workload()
        copy.CopyFrom(workload)
        copy.ClearField("labels")
        return copy.SerializeToString(deterministic=True)

    return essence(first) == essence(second)
