"""How far a transfer is, for whoever watches it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Progress:
    """How far a push or a pull is; numbers only grow, but for those of a transfer taken up again.

    Attributes:
        phase: `scanning`, `sending`, `creating`, `comparing`, `receiving`, `placing`, `done`.
        total_files: how many there are.
        total_bytes: of all files.
        read_bytes: how many of them were read and hashed.
        done_bytes: how many are where they belong: they were there before, or have arrived.
        moved_bytes: how many travelled.
    """

    phase: str = ""
    total_files: int = 0
    total_bytes: int = 0
    read_bytes: int = 0
    done_bytes: int = 0
    moved_bytes: int = 0


OnProgress = Callable[[Progress], None]
_INTERVAL = 0.1
"""Seconds: nobody sees more than ten changes a second."""


class Meter:
    """Counts what several threads do, and tells one listener in the thread that asks for it.

    Args:
        listener: called with the progress; None: nobody listens.
    """

    def __init__(self, listener: OnProgress | None) -> None:
        self.progress = Progress()
        self._listener = listener
        self._lock = threading.Lock()
        self._told = 0.0

    def add(self, *, read: int = 0, done: int = 0, moved: int = 0) -> None:
        """Counts bytes."""
        with self._lock:
            self.progress.read_bytes += read
            self.progress.done_bytes += done
            self.progress.moved_bytes += moved

    def phase(self, word: str) -> None:
        """Begins a phase, and tells it."""
        self.progress.phase = word
        self.tell(always=True)

    def tell(self, *, always: bool = False) -> None:
        """Tells the listener, unless it was told a moment ago."""
        now = time.monotonic()
        if self._listener is not None and (always or now - self._told >= _INTERVAL):
            self._told = now
            self._listener(self.progress)
