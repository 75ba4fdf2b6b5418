"""The runs that the driver knows: made, found again in their folders, and forgotten."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from subgrpc.driver import Workload
from subgrpc.driver.local import demands, folders
from subgrpc.driver.local.folders import RunKey, run_key
from subgrpc.driver.local.placement import Queue
from subgrpc.driver.local.state import LocalRun, LocalTask, queued
from subgrpc.driver.local.supervision import Supervision
from subgrpc.reasons import WAITING_FOR_RESOURCES

_log = structlog.get_logger(__name__)


class Registry:
    """All runs of one driver, by their keys."""

    def __init__(self, root: Path, queue: Queue, supervision: Supervision) -> None:
        self._root = root
        self._queue = queue
        self._supervision = supervision
        self._runs: dict[RunKey, LocalRun] = {}
        self._last_order = 0

    def __iter__(self) -> Iterator[LocalRun]:
        return iter(tuple(self._runs.values()))

    def get(self, key: RunKey) -> LocalRun | None:
        """Returns a run that is known already."""
        return self._runs.get(key)

    def find(self, key: RunKey) -> LocalRun | None:
        """Returns a run; from its folder, should another process have made it.

        Raises:
            OSError: the folder cannot be read.
        """
        known = self._runs.get(key)
        if known is None and demands.is_uid(key[0]):
            known = self._load(self._root / folders.relative_folder(key))
        return known

    def load_all(self) -> None:
        """Takes up the runs of an earlier server.

        Raises:
            OSError: a folder cannot be read.
        """
        for folder in folders.find_runs(self._root):
            self._load(folder)

    def create(self, workload: Workload) -> LocalRun:
        """Makes a new run, which waits.

        Raises:
            OSError: its folder cannot be made; there is no such run then.
        """
        order = max(time.time_ns(), self._last_order + 1)
        folder = self._root / folders.relative_folder(run_key(workload))
        if folder.exists():  # damaged: else it would be known
            folders.discard_run(self._root, folder)
        own = Workload()  # the caller may change theirs
        own.CopyFrom(workload)
        folders.create_run(folder, own, order)
        return self._add(folder, own, order, waits=True)

    def forget(self, run: LocalRun) -> None:
        """Forgets a run whose folder is gone, and takes back what it had."""
        for task in run.tasks.values():
            self._queue.ended(run, task)
            self._supervision.forget(task)
        self._queue.remove(run)
        self._runs.pop(run.key, None)

    def _load(self, folder: Path) -> LocalRun | None:
        try:
            found = folders.read_run(folder)
            placement = folders.read_placement(folder)
        except (ValueError, DecodeError) as error:  # half a file, after a crash of the host
            _log.error("run.damaged", folder=str(folder), error=str(error))
            return None
        if found is None:
            return None
        run = self._add(folder, *found, waits=placement is None)
        if placement is not None:
            self._queue.restore(run, placement)
        for task in run.tasks.values():
            if placement is None:
                self._supervision.take_final(run, task)  # it may have been stopped
            else:
                self._supervision.observe(run, task)
        return run

    def _add(self, folder: Path, workload: Workload, order: int, *, waits: bool) -> LocalRun:
        reason = WAITING_FOR_RESOURCES if waits else ""
        tasks = {
            key: LocalTask(key, folder / str(key), demand, queued(key, reason))
            for key, demand in demands.task_demands(workload).items()
        }
        run = LocalRun(run_key(workload), folder, workload, order, tasks)
        self._last_order = max(self._last_order, order)
        self._runs[run.key] = run
        if waits:
            self._queue.add(run)
        return run
