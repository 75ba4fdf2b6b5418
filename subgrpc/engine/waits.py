"""How long experiments still have to wait, or may, whatever becomes of the wall clock meanwhile.

A wait begins at a stored time, so that it goes on when the server is started anew. From the first
look at it on, the event loop's clock measures it, which never jumps.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True)
class Waits:
    """The waits of one cluster's experiments, one at a time for each."""

    _ends: dict[str, tuple[int, float]] = field(default_factory=dict)

    def left(self, uid: str, since: int, span: float, now: int) -> float:
        """Seconds that are left of a wait.

        Args:
            uid: whose.
            since: when it began, in µs; another time is another wait.
            span: how long it lasts, in seconds.
            now: the wall clock, in µs: used at the first look only. Should it have been set back
                since the beginning, the wait begins now.
        """
        clock = asyncio.get_running_loop().time()
        began, end = self._ends.get(uid, (-1, 0.0))
        if began != since:
            end = clock + span - max((now - since) / 1e6, 0.0)
            self._ends[uid] = since, end
        return end - clock

    def forget(self, uid: str) -> None:
        """Forgets an experiment that waits no more."""
        self._ends.pop(uid, None)
