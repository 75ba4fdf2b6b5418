"""Starts, observes and stops supervisors, and buries those that were killed."""

from __future__ import annotations

import asyncio
import errno
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor

import structlog

from subgrpc import reasons
from subgrpc.agent import status
from subgrpc.driver.local import folders, launch, recovery
from subgrpc.driver.local.host import Host
from subgrpc.driver.local.notify import Notifier
from subgrpc.driver.local.state import LocalRun, LocalTask, queued
from subgrpc.v1.types_pb2 import TaskState

_THREADS = 4
_SIGNAL_AGAIN = 0.01
_SIGNAL_TRIES = 500

_PASSING = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
)
"""What keeps a supervisor from starting now, and may not in a second."""

_log = structlog.get_logger(__name__)


class Supervision:
    """All supervisors of one driver."""

    def __init__(
        self,
        host: Host,
        launcher: launch.Launcher,
        notifier: Notifier,
        node: str,
        changed: Callable[[LocalRun, LocalTask], None],
    ) -> None:
        """`changed` is called after every change of a task's status."""
        self._host = host
        self._launcher = launcher
        self._notifier = notifier
        self._node = node
        self._changed = changed
        self._threads = ThreadPoolExecutor(_THREADS, "local-driver")
        self._children: set[subprocess.Popen[bytes]] = set()
        self._launches: set[asyncio.Task[None]] = set()
        self._jobs: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Waits for supervisors that are being started; they and their tasks go on."""
        for job in self._jobs:  # another driver does them again
            job.cancel()
        await asyncio.gather(*self._launches, *self._jobs, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)
        self.reap()
        for child in self._children:
            child.returncode = 0  # it outlives us: there is nobody who could wait for it
        self._children.clear()

    def start(self, run: LocalRun, task: LocalTask) -> None:
        """Starts a task's supervisor, unless it has, or had, one."""
        if task.ended or task.launching or run.secrets is None:
            return
        task.launching, task.retry = True, False
        started = asyncio.create_task(self._launch(run, task))
        self._launches.add(started)
        started.add_done_callback(self._launches.discard)

    def observe(self, run: LocalRun, task: LocalTask) -> None:
        """Begins to watch a task of a run that was placed before, and reads how it stands."""
        self._watch(run, task)
        self.look(run, task)

    def look(self, run: LocalRun, task: LocalTask) -> None:
        """Reads how a task stands, from its files."""
        if task.ended or not run.placed:
            return
        alive = task.launching or task.burying or folders.is_locked(task.folder)
        # Only now: the last thing that a supervisor writes is the final status.
        found = folders.read_status(task.folder, task.key, self._node)
        if found is not None and found.state in folders.ENDED:
            self._notifier.forget_folder(task.folder)
        elif not alive and (task.launched or folders.was_claimed(task.folder)):
            task.burying = True
            self._background(self._bury(run, task))
            return
        elif found is None:
            found = queued(task.key)
            if alive:
                found.state, found.node = TaskState.TASK_STATE_STARTING, self._node
        if found != task.status:
            task.status = found
            self._changed(run, task)

    def take_final(self, run: LocalRun, task: LocalTask) -> None:
        """Takes over a final status; a task that has none yet is looked at again later."""
        found = folders.read_status(task.folder, task.key, self._node)
        if found is None or found.state not in folders.ENDED or task.ended:
            return
        self._notifier.forget_folder(task.folder)
        task.status = found
        self._changed(run, task)

    def stop(self, run: LocalRun, task: LocalTask, grace: float) -> None:
        """Stops a task: it never starts, or its supervisor ends it.

        Raises:
            OSError: the disk is full, for example; it is stopped with the workload's own grace.
        """
        if task.ended:
            return
        live = task.launching or folders.is_locked(task.folder)
        if live:
            task.stopping = True
            self._background(self._signal(task))
        task.folder.mkdir(mode=0o700, exist_ok=True)
        folders.ask_to_stop(task.folder, grace)
        if not (live or task.launched or folders.was_claimed(task.folder)):
            final = status.Status()
            final.end_ns = time.time_ns()
            final.end("cancelled", reasons.STOPPED, "stopped before it started")
            self._conclude(run, task, final)

    def wake(self, task: LocalTask) -> None:
        """Makes a supervisor go on that was stopped (SIGSTOP) after it was told to end its task."""
        if task.stopping and not task.ended:
            recovery.signal_supervisor(task.folder, signal.SIGCONT)

    async def destroy(self, run: LocalRun, task: LocalTask) -> bool:
        """Kills a supervisor that does not answer, and its task; False if that fails."""
        recovery.signal_supervisor(task.folder, signal.SIGKILL)
        return await self._clean_up(run, task)

    def forget(self, task: LocalTask) -> None:
        """Stops watching a task."""
        self._notifier.forget_folder(task.folder)

    def reap(self) -> None:
        """Collects the exit codes of supervisors that have ended."""
        self._children = {child for child in self._children if child.poll() is None}

    async def _launch(self, run: LocalRun, task: LocalTask) -> None:
        loop = asyncio.get_running_loop()
        try:
            child = await loop.run_in_executor(self._threads, self._spawn, run, task)
        except OSError as error:
            task.launching = False
            self._not_launched(run, task, error)
            return
        task.launching = False
        if child is not None:
            task.launched = True
            self._children.add(child)
        self.observe(run, task)  # only now: what happened meanwhile stands in its files

    def _spawn(self, run: LocalRun, task: LocalTask) -> subprocess.Popen[bytes] | None:
        """Starts a supervisor; in a thread, since it takes milliseconds."""
        task.folder.mkdir(mode=0o700, exist_ok=True)
        request = launch.make_request(
            run.workload, task.key, run.secrets or {}, self._host, task.gpus, task.folder
        )
        return self._launcher.launch(task.folder, request)

    def _not_launched(self, run: LocalRun, task: LocalTask, error: OSError) -> None:
        _log.warning("supervisor.start", folder=str(task.folder), error=str(error))
        if error.errno in _PASSING:
            task.retry = True
            return
        final = status.Status()
        final.end_ns = time.time_ns()
        final.end("failed", reasons.START_FAILED, f"the supervisor cannot be started: {error}")
        self._conclude(run, task, final)

    def _watch(self, run: LocalRun, task: LocalTask) -> None:
        def changed(name: str) -> None:
            if name in (status.FILE, status.LOCK):
                self.look(run, task)

        task.watched = self._notifier.watch_folder(task.folder, changed)

    async def _signal(self, task: LocalTask) -> None:
        """Tells a supervisor to look at what was asked; one that claims later looks by itself."""
        await asyncio.sleep(0)  # the caller has yet to write what is asked
        for _ in range(_SIGNAL_TRIES):
            if task.ended or recovery.signal_supervisor(task.folder, signal.SIGTERM):
                return
            await asyncio.sleep(_SIGNAL_AGAIN)

    async def _bury(self, run: LocalRun, task: LocalTask) -> None:
        """Ends what a dead supervisor left running, and writes the task's final status."""
        _log.warning("supervisor.died", folder=str(task.folder))
        try:
            clean = await self._clean_up(run, task)
            if run.folder.exists():
                task.folder.mkdir(mode=0o700, exist_ok=True)  # the task may have removed it
                recovery.conclude_lost(task.folder, clean)
        except OSError as error:  # done again when the task is looked at again
            _log.error("supervisor.bury", folder=str(task.folder), error=str(error))
        finally:
            task.burying = False
        self.take_final(run, task)

    async def _clean_up(self, run: LocalRun, task: LocalTask) -> bool:
        uid = launch.task_uid(run.workload, task.key)
        group = launch.group_folder(self._host, run.workload, task.key)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, recovery.clean_up, uid, group)

    def _conclude(self, run: LocalRun, task: LocalTask, final: status.Status) -> None:
        status.write(str(task.folder), final)
        self.take_final(run, task)

    def _background(self, job: Coroutine[None, None, None]) -> None:
        started = asyncio.create_task(job)
        self._jobs.add(started)
        started.add_done_callback(self._jobs.discard)
