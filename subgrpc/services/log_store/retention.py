"""Ends logs: those of attempts that ended too long ago go from the store and from the disks."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import structlog

from subgrpc.metastore import Metastore, logs
from subgrpc.services.log_store.cache import LogCache

BATCH: Final = 100
"""Logs that one transaction ends."""

_log = structlog.get_logger(__name__)


class Retention:
    """Ends what is older than a time, on whichever server; each removes what it has of it."""

    def __init__(self, metastore: Metastore, cache: LogCache, kept: timedelta | None) -> None:
        """`kept`: how long after its end an attempt's log is kept; None: for ever."""
        self._metastore = metastore
        self._cache = cache
        self._kept = kept

    async def enforce(self) -> int:
        """Ends what is old enough; returns how many logs.

        Raises:
            Unavailable: the metastore or the disk cannot be used now.
        """
        ended = 0
        if self._kept is not None:
            before = self._metastore.clock() - self._kept // timedelta(microseconds=1)
            while found := await self._metastore.write_ordered(
                lambda tx: logs.expire(tx, before, BATCH)
            ):
                ended += len(found)
            if ended:
                _log.info("logs.expired", count=ended)
        # Another server may have ended what this one has.
        await self._cache.drop_expired()
        return ended
