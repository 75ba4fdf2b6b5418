"""How often, and when, what failed for a passing reason is tried again."""

from __future__ import annotations

import random
import time
from typing import Final

from subgrpc.errors import Unavailable

ATTEMPTS: Final = 4
_PAUSE: Final = 0.2
_GROWTH: Final = 4


class Patience:
    """Counts the attempts at one thing.

    Attributes:
        limit: seconds after which none is begun any more: each may take long to fail.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._failures = 0
        self._began = time.monotonic()

    def failed(self, error: Unavailable) -> None:
        """Waits for the next attempt, up to 0.2, 0.8, 3.2 seconds; raises the error after the last.

        The pauses are uneven, so that clients that failed together do not come back together.
        """
        self._failures += 1
        if self._failures == ATTEMPTS or time.monotonic() - self._began > self.limit:
            raise error
        pause = _PAUSE * _GROWTH ** (self._failures - 1)
        time.sleep(pause * random.uniform(0.5, 1.0))
