"""The lease of one cluster: waited for, kept, and given up.

No wall clock decides anything. A holder renews its lease by counting; a challenger takes it once
the count has stood still for most of the lease's length, by its own monotonic clock. A holder that
could not renew for a smaller part of it has stopped acting by then, so that there is never more
than one, however the clocks of machines differ and however long a process was stopped: time that
it did not see passes for it, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from subgrpc import faults
from subgrpc.errors import Aborted, Unavailable
from subgrpc.metastore import Fence, Lease, Metastore

LEASE_LENGTH = 5.0
"""Seconds within which another server leads after a holder's death, unless set otherwise."""
RENEWED = 0.2
"""Part of the length between two renewals."""
VALID = 0.6
"""Part of the length after which a holder that could not renew acts no more."""
STANDSTILL = 0.8
"""Part of the length after which a challenger takes a lease that was not renewed."""
LOOKED_AT = 0.1
"""Part of the length between two looks of a challenger."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who wants to lead.

    Attributes:
        server: its id.
        home: where the cluster's runs live for it: see `subgrpc.metastore.Lease`.
        length: of the lease, in seconds.
    """

    server: str
    home: str
    length: float = LEASE_LENGTH


class Leadership:
    """One server's claim to lead one cluster."""

    def __init__(self, store: Metastore, cluster: str, candidate: Candidate) -> None:
        self._store = store
        self._cluster = cluster
        self._candidate = candidate
        self._clock = asyncio.get_running_loop().time
        self._valid_until = float("inf")

    async def acquire(self, waits: Callable[[Lease], None]) -> Fence:
        """Waits until this server leads the cluster.

        Args:
            waits: called with the lease whenever another server is seen to hold it.

        Raises:
            Unavailable: only where no other server can have the metastore open.
        """
        if not self._store.shared:
            taken = self._clock()
            home, server = self._candidate.home, self._candidate.server
            epoch = await self._store.write_unversioned(
                lambda tx: tx.acquire_lease(self._cluster, server, home)
            )
        else:
            taken, epoch = await self._challenge(waits)
        faults.point("lease.taken")
        self._renewed(taken)
        return Fence(self._cluster, epoch)

    async def keep(self, fence: Fence) -> None:
        """Renews the lease until it is lost.

        Raises:
            Aborted: LEASE_LOST, another server has it, or it could not be renewed in time.
        """
        while self._store.shared:
            await asyncio.sleep(RENEWED * self._candidate.length)
            now = self._clock()
            left = self._valid_until - now
            try:
                await asyncio.wait_for(
                    self._store.write_unversioned(
                        lambda tx: tx.renew_lease(fence.cluster, fence.epoch)
                    ),
                    max(left, 0.0),
                )
                self._renewed(now)
            except Unavailable as error:
                _log.warning("lease.renew", cluster=self._cluster, error=error.message)
            except (TimeoutError, asyncio.TimeoutError):
                _log.warning("lease.renew", cluster=self._cluster, error="it takes too long")
            self.check()
        await asyncio.Event().wait()

    def check(self) -> None:
        """Makes sure that this server still may act: to be called before it commands a driver.

        Raises:
            Aborted: LEASE_LOST.
        """
        if self._clock() > self._valid_until:
            text = f"the lease of {self._cluster} could not be renewed in time"
            raise Aborted(text, reason="LEASE_LOST")

    async def release(self, fence: Fence) -> None:
        """Gives the lease up, so that another server need not wait. Raises Unavailable."""
        await self._store.write_unversioned(lambda tx: tx.release_lease(self._cluster, fence.epoch))

    def _renewed(self, asked: float) -> None:
        """The lease was renewed by what was asked for at that time."""
        if self._store.shared:
            self._valid_until = asked + VALID * self._candidate.length

    async def _challenge(self, waits: Callable[[Lease], None]) -> tuple[float, int]:
        """Watches the lease until it can be taken; returns when it was asked for, and the epoch."""
        length = self._candidate.length
        seen: Lease | None = None
        since = self._clock()
        while True:
            try:
                found = await self._store.lease(self._cluster)
                now = self._clock()
                if found != seen:
                    seen, since = found, now
                if self._may_take(found, now - since):
                    return now, await self._take(found)
                if found is not None:
                    waits(found)
            except Unavailable as error:
                _log.warning("lease.challenge", cluster=self._cluster, error=error.message)
                seen = None  # it may have been renewed unseen
            except Aborted:
                continue  # somebody was faster
            await asyncio.sleep(LOOKED_AT * length)

    def _may_take(self, found: Lease | None, standstill: float) -> bool:
        if found is None:
            return True
        if found.home != self._candidate.home and found.home:
            return False
        if not found.holder or found.holder == self._candidate.server:
            return True  # released; or held by this server before it was started anew
        return standstill >= STANDSTILL * self._candidate.length

    async def _take(self, found: Lease | None) -> int:
        server, home = self._candidate.server, self._candidate.home
        return await self._store.write_unversioned(
            lambda tx: tx.take_over_lease(found, self._cluster, server, home)
        )
