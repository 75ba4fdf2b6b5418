"""How long, and how often, something is tried again that failed for want of a connection."""

from __future__ import annotations

import random
import time

PATIENCE = 600.0
"""Seconds for which a server that cannot be reached is tried again."""
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 2.0


class Patience:
    """Counts failures since the last progress.

    Args:
        seconds: how long after the last progress it is over.
    """

    def __init__(self, seconds: float = PATIENCE) -> None:
        self._seconds = seconds
        self._failures = 0
        self._last = time.monotonic()

    def progress(self) -> None:
        """Something came through: the next failure is a first one."""
        self._failures = 0
        self._last = time.monotonic()

    def is_over(self) -> bool:
        """Whether there was no progress for too long."""
        return time.monotonic() - self._last >= self._seconds

    def pause(self) -> float:
        """Seconds before the next try: more each time, and never in step with other clients."""
        wait = min(_FIRST_WAIT * 2.0**self._failures, _LONGEST_WAIT) * random.uniform(0.5, 1.0)
        self._failures = min(self._failures + 1, 10)
        return wait
