"""A bell: wakes everyone who follows a journal, cheaply however often it is rung."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final

INTERVAL: Final = 0.004
"""Least number of seconds between two calls of the listeners.

The first ring after a pause is heard at once. Of a flood, followers then get many lines in one
message instead of one each, and all get the same ones, which are built once for all of them.
"""


class Bell:
    """Calls its listeners on their event loop after `ring`, which any thread may call."""

    __slots__ = ("_last", "_listeners", "_loop", "_thread", "_timer")

    def __init__(self) -> None:
        self._listeners: dict[object, Callable[[], None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def listen(self, callback: Callable[[], None]) -> object:
        """Has `callback` called after every ring, several rings at most `INTERVAL` late as one.

        To be called on an event loop; all listeners of a bell are on the same one.

        Returns:
            What `forget` wants to end it.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._listeners:
                raise RuntimeError("the listeners of a bell must share their event loop")
            self._loop, self._thread, self._timer = loop, threading.get_ident(), None
            self._last = 0.0
        token = object()
        self._listeners[token] = callback
        return token

    def forget(self, token: object) -> None:
        """Ends a `listen`."""
        self._listeners.pop(token, None)
        if not self._listeners and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def ring(self) -> None:
        """Wakes the listeners; nothing where there are none."""
        if not self._listeners or self._loop is None:
            return
        if threading.get_ident() == self._thread:
            self._soon()
        else:
            # A loop that is closed by now has no listeners that could hear.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._soon)

    def _soon(self) -> None:
        if self._timer is not None or self._loop is None:
            return
        wait = self._last + INTERVAL - self._loop.time()
        if wait > 0:
            self._timer = self._loop.call_later(wait, self._call)
        else:
            self._call()

    def _call(self) -> None:
        self._timer = None
        if self._loop is not None:
            self._last = self._loop.time()
        for callback in list(self._listeners.values()):
            callback()
