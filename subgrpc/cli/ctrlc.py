"""Ctrl-C that ends a stream between two of its frames, never in the middle of something."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType


class Hurry(KeyboardInterrupt):
    """Ctrl-C came again before the first was heeded: what was being done is half done."""


class CtrlC:
    """While it is entered, Ctrl-C calls `stop`; KeyboardInterrupt is raised when it is left.

    Python would raise it wherever the program happens to be: between a piece of output and the
    token that is kept behind it, or where gRPC has just taken a lock, which nobody then gives back.
    `stop` is called in another thread; whoever follows also looks at `came`. A second Ctrl-C does
    not wait: output may be waiting for a reader that does not read.

    Args:
        stop: ends what is being waited for, such as the `close` of a stream.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self.came = False
        self._stop = stop
        self._write = -1

    def __enter__(self) -> CtrlC:
        # Who ignores Ctrl-C (nohup, a script's background job) goes on doing so.
        is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if is_usual and threading.current_thread() is threading.main_thread():
            read, self._write = os.pipe()
            threading.Thread(target=self._wait, args=(read,), daemon=True).start()
            signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._write >= 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.close(self._write)
            self._write = -1
        if self.came and (kind is None or issubclass(kind, Exception)):
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.came:
            raise Hurry
        self.came = True
        os.write(self._write, b"!")

    def _wait(self, read: int) -> None:
        if os.read(read, 1):
            self._stop()
        os.close(read)
