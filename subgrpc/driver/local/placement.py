"""The queue of runs that wait for room on the host, and what those that do not wait were given."""

from __future__ import annotations

import time

from subgrpc.driver.local.admission import Ledger, wait_message
from subgrpc.driver.local.folders import write_placement
from subgrpc.driver.local.state import LocalRun, LocalTask

HOLD = 3.0
"""Seconds after a start during which runs of the last server keep their place in the queue,
although that server's successor has not handed over their secrets yet."""
_NEAR = 8
"""Runs at the head of the queue whose message always shows the newest figures."""


class Queue:
    """Runs by order of submission."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._runs: list[LocalRun] = []
        self._hold_until = time.monotonic() + HOLD

    def add(self, run: LocalRun) -> None:
        """Lets a run wait."""
        self._runs.append(run)
        self._runs.sort(key=lambda each: each.order)

    def remove(self, run: LocalRun) -> None:
        """Takes a run out, if it is in."""
        if run in self._runs:
            self._runs.remove(run)

    def place(self) -> list[LocalRun]:
        """Gives resources to all runs that may start now, and returns them.

        Raises:
            OSError: the disk is full, for example; the run at the head goes on waiting. Only if
                no run was given anything: those that were have to be started.
        """
        placed: list[LocalRun] = []
        for run in tuple(self._runs):
            if not run.waits:
                self._runs.remove(run)
            elif run.secrets is None:
                if time.monotonic() < self._hold_until:
                    break
            elif run.demand.fits(self._ledger.free):
                try:
                    self._give(run)
                except OSError:
                    if placed:
                        break
                    raise
                self._runs.remove(run)
                placed.append(run)
            else:
                break
        return placed

    def explain(self, *, everyone: bool = False) -> list[LocalRun]:
        """Renews the messages of waiting runs; returns those whose message changed.

        Only those near the head, unless `everyone`: with a thousand runs waiting, each end of one
        would be a thousand changes.
        """
        changed = []
        for ahead, run in enumerate(self._runs):
            if ahead >= _NEAR and run.message and not everyone:
                continue
            message = wait_message(run.demand, self._ledger, ahead)
            if message != run.message:
                run.message = message
                changed.append(run)
        return changed

    def restore(self, run: LocalRun, gpus: dict[str, list[str]]) -> None:
        """Accounts for a run that was placed before a restart."""
        for task in run.tasks.values():
            task.gpus = tuple(gpus.get(str(task.key), ()))
            if not task.ended:
                self._ledger.give(run.key, task.key, task.demand, task.gpus)
        run.placed = True

    def ended(self, run: LocalRun, task: LocalTask) -> None:
        """Takes back what a task had."""
        self._ledger.take_back(run.key, task.key)

    def _give(self, run: LocalRun) -> None:
        tasks = [task for task in run.tasks.values() if not task.ended]
        for task in tasks:
            task.gpus = self._ledger.give(run.key, task.key, task.demand)
        try:
            write_placement(run.folder, {task.key: task.gpus for task in tasks})
        except OSError:
            for task in tasks:
                self._ledger.take_back(run.key, task.key)
            raise
        run.placed = True
        run.message = ""
