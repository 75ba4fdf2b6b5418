"""Ctrl-C that waits for what must not be done by half."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class CtrlC:
    """While it is entered, Ctrl-C does not break into `whole` blocks; it comes behind them.

    A second Ctrl-C breaks into them nevertheless: what is written may wait for a reader that does
    not read.
    """

    def __init__(self) -> None:
        self._is_whole = False
        self._came = False
        self._replaced = False

    def __enter__(self) -> CtrlC:
        # Who ignores Ctrl-C (nohup, a script's background job) goes on doing so.
        is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if is_usual and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._interrupt)
            self._replaced = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._replaced:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._replaced = False

    @contextmanager
    def whole(self) -> Iterator[None]:
        """What is done in here is done to its end before KeyboardInterrupt is raised."""
        self._is_whole = True
        try:
            yield
        finally:
            self._is_whole = False
        if self._came:
            self._came = False
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._is_whole and not self._came:
            self._came = True
            return
        self._came = False
        raise KeyboardInterrupt
