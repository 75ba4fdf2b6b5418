"""Who watches the driver's runs: each watcher knows which runs changed since it last looked."""

from __future__ import annotations

import asyncio

from subgrpc.driver import Run
from subgrpc.driver.local.folders import RunKey, run_key


class Feed:
    """One watcher. It never holds more than one entry for each run."""

    def __init__(self, control_plane_id: str) -> None:
        self._control_plane_id = control_plane_id
        self._changed: dict[RunKey, Run] = {}
        self._news = asyncio.Event()
        self.closed = False

    def push(self, run: Run) -> None:
        """Notes that a run changed, or is gone."""
        if run.control_plane_id == self._control_plane_id:
            self._changed[run_key(run)] = run
            self._news.set()

    def close(self) -> None:
        """Ends it."""
        self.closed = True
        self._news.set()

    async def next(self) -> list[Run]:
        """Waits for changes and returns the runs; empty once it is closed."""
        await self._news.wait()
        self._news.clear()
        changed, self._changed = list(self._changed.values()), {}
        return changed
