"""A deduplicating work queue with delays and backoff, for one event loop.

A key is worked on by one worker at a time. Added while it is being worked on, it comes again
afterwards: nothing that happened in between is missed. (The design is client-go's workqueue.)
"""

from __future__ import annotations

import asyncio
import random
from collections import deque

FIRST_BACKOFF = 0.05
"""Seconds before the first retry of a key."""
LAST_BACKOFF = 30.0
"""Greatest number of seconds between two retries of a key."""


class WorkQueue:
    """Keys that wait for work."""

    def __init__(self) -> None:
        self._ready: deque[str] = deque()
        self._waiting: set[str] = set()
        self._working: set[str] = set()
        self._again: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._failures: dict[str, int] = {}
        self._event = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._working)

    def add(self, key: str) -> None:
        """Puts a key in the queue; one that waits already stays where it is."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.append(key)
            self._event.set()

    def add_later(self, key: str, delay: float) -> None:
        """Adds a key after `delay` seconds, or earlier if an earlier time is set already."""
        loop = asyncio.get_running_loop()
        when = loop.time() + max(delay, 0.0)
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= when:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(when, self._fire, key)

    def cancel(self, key: str) -> None:
        """Forgets that a key was to come later."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def retry(self, key: str) -> float:
        """Adds a key after its backoff, doubled with every retry; returns the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        backoff = min(FIRST_BACKOFF * (1 << min(failures, 20)), LAST_BACKOFF)
        delay = backoff * random.uniform(0.75, 1.25)
        self.add_later(key, delay)
        return delay

    def forget(self, key: str) -> None:
        """The key's work went well: its next failure starts with the first backoff again."""
        self._failures.pop(key, None)

    async def get(self) -> str:
        """Waits for a key and takes it; the worker calls `done` with it afterwards."""
        while not self._ready:
            self._event.clear()
            await self._event.wait()
        key = self._ready.popleft()
        self._waiting.discard(key)
        self._working.add(key)
        return key

    def done(self, key: str) -> None:
        """The worker has finished with a key that it got."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Cancels every timer."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _fire(self, key: str) -> None:
        self._timers.pop(key, None)
        self.add(key)
