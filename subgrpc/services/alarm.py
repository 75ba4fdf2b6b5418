"""Wakes one watcher or follower of logs: for output, a change, or the server's end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Alarm:
    """Remembers that it was rung until it is cleared; costs one future for each wait."""

    def __init__(self, draining: asyncio.Event) -> None:
        """Rings when `draining` is set."""
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self.ring_after("draining", draining.wait())

    def ring(self) -> None:
        """Wakes the follower, or its next `wait`."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """Forgets earlier rings: to be called before looking at what may have changed."""
        self._rung = False

    def ring_after(self, what: str, waits: Coroutine[Any, Any, Any]) -> None:
        """Rings once `waits` is over; takes the place of what went under the same name before."""
        old = self._tasks.pop(what, None)
        if old is not None:
            old.cancel()
        task = self._tasks[what] = asyncio.ensure_future(waits)
        task.add_done_callback(self._is_over)

    async def wait(self, until: float) -> bool:
        """Waits for a ring; returns False if the event loop's time `until` came first."""
        if self._rung:
            return True
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = loop.call_at(until, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None
        return self._rung

    def _is_over(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            self.ring()

    def close(self) -> None:
        """Ends everything that would ring."""
        for task in self._tasks.values():
            task.cancel()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
