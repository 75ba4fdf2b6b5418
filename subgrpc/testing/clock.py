"""An event loop whose time passes only when there is nothing else to do: waits cost nothing.

::

    loop = VirtualLoop()
    loop.run_until_complete(asyncio.sleep(3600))    # at once

What a thread does takes no time of this clock: `run_in_executor` is carried out on the spot, and
while `busy` says that another thread is about to call, the loop waits for it and not for a timer.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs what is ready in the order of the virtual time."""

    def __init__(self, busy: Callable[[], bool] = lambda: False) -> None:
        """`busy`: whether some thread will call `call_soon_threadsafe` before long."""
        self._now = 0.0
        super().__init__(_Selector(self))
        self.busy = busy

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Turns the clock on; what was due by then runs next."""
        self._now += seconds

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Runs a function at once, in this thread: its future is done."""
        future: asyncio.Future[Any] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class VirtualPolicy(asyncio.DefaultEventLoopPolicy):
    """Makes loops with virtual time: for pytest-asyncio's fixture `event_loop_policy`."""

    def new_event_loop(self) -> VirtualLoop:
        """Makes a loop."""
        return VirtualLoop()


class _Selector(selectors.DefaultSelector):
    """Turns the clock on instead of waiting for it."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Returns files that are ready; without any, the time of the next timer has come."""
        if self._loop.busy():
            return super().select(timeout if timeout == 0 else None)
        if timeout is None:
            if ready := super().select(0):
                return ready
            raise RuntimeError("nothing will ever happen: everybody waits for somebody else")
        ready = super().select(0)
        if not ready and timeout > 0:
            # A little more, so that no timer is missed by a rounding error.
            self._loop.advance(timeout + 1e-9)
        return ready
