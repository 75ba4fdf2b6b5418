"""The log store as a server runs it: in the background, again and again, whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import structlog

from subgrpc.ending import end
from subgrpc.errors import SubgrpcError
from subgrpc.journal import JournalStore
from subgrpc.metastore import Metastore
from subgrpc.services.blobs import Storage
from subgrpc.services.log_store.archiver import Archiver
from subgrpc.services.log_store.cache import LogCache
from subgrpc.services.log_store.retention import Retention

EVERY: Final = 1.0
"""Seconds between two looks for logs that are complete."""
LAST_BACKOFF: Final = 60.0
"""Greatest number of seconds between two tries while the store cannot be used."""
FOREIGN_EVERY: Final = 3600.0
"""Seconds between two looks for journals that another server took over while this one stood."""
LOOKS: Final = 20
"""How often retention is looked at while a log gets as old as it may be, if that is short."""
RETAINED_EVERY: Final = 600.0
"""Seconds between two such looks at the most."""

_log = structlog.get_logger(__name__)


class LogStore:
    """Archives, evicts and ends logs from `start` to `stop`."""

    def __init__(
        self,
        storage: Storage,
        metastore: Metastore,
        journals: JournalStore,
        *,
        cache_size: int,
        retention: timedelta | None,
    ) -> None:
        self.cache = LogCache(storage, metastore, journals, cache_size)
        self._archiver = Archiver(storage, metastore, journals, self.cache)
        self._retention = Retention(metastore, self.cache, retention)
        wait = RETAINED_EVERY if retention is None else retention.total_seconds() / LOOKS
        self._look_every = min(max(wait, EVERY), RETAINED_EVERY)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins."""
        await self.cache.start()
        self._tasks = [
            asyncio.create_task(_again(self.cache.drop_foreign, FOREIGN_EVERY), name="tidy logs"),
            asyncio.create_task(_again(self._archive, EVERY), name="archive logs"),
            asyncio.create_task(_again(self._retention.enforce, self._look_every), name="end logs"),
        ]

    async def stop(self) -> None:
        """Stops; what is on its way to the store arrives there, and is recorded another time."""
        await end(self._tasks)

    async def _archive(self) -> None:
        while await self._archiver.archive():
            pass


async def _again(work: Callable[[], Awaitable[object]], seconds: float) -> None:
    backoff = seconds
    while True:
        try:
            await work()
            backoff = seconds
        except SubgrpcError as error:
            backoff = min(backoff * 2, max(LAST_BACKOFF, seconds))
            _log.warning("logs.store", error=error.message, reason=error.reason)
        except Exception:
            backoff = min(backoff * 2, max(LAST_BACKOFF, seconds))
            _log.exception("logs.store")
        await asyncio.sleep(backoff)
