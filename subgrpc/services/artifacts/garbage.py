"""Removes what nothing refers to any more.

An object of the store that no artifact needs, and nobody asked for lately, is condemned: from then
on nobody can come to need it, on whichever server, so that it can be removed later without asking
anybody. Objects that the metastore does not know (a server died between the store and it) are found
by listing the store, and told from those on their way by the time in their names. Any number of
servers may do all of that at the same time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Final

import structlog

from subgrpc import names
from subgrpc.artifacts import StoredObject
from subgrpc.artifacts.blobs import OBJECTS, object_id
from subgrpc.errors import FailedPrecondition, SubgrpcError
from subgrpc.metastore import Metastore, Transaction, artifacts, blobs
from subgrpc.metastore.blobs import Condemned
from subgrpc.services.blobs import Storage
from subgrpc.v1.artifact_service_pb2 import CollectArtifactGarbageResponse as Progress

GRACE: Final = timedelta(hours=1)
IDLE: Final = timedelta(days=1)
"""For so long an OPEN artifact may stay as it is."""
EVERY: Final = timedelta(hours=1)
SWEEP_EVERY: Final = timedelta(days=1)
"""Listing a store of millions of objects is work, and few of them are strays."""
PORTION: Final = 500
"""Objects of the store that are looked at at a time."""
ABANDONED: Final = 20
"""OPEN artifacts, each with all of its files, that are removed at a time."""
AT_ONCE: Final = 8
"""Objects that are removed from the store at the same time."""
_MICROSECOND: Final = timedelta(microseconds=1)

_log = structlog.get_logger(__name__)


class Collector:
    """Collects garbage: now and then, and when it is asked to."""

    def __init__(self, store: Metastore, storage: Storage) -> None:
        self._store = store
        self._storage = storage

    async def run(self) -> None:
        """Collects about every hour, until it is cancelled. What fails is tried again then."""
        while True:
            # Servers that were started together do not all do it at the same moment.
            await asyncio.sleep(EVERY.total_seconds() * random.uniform(0.5, 1.5))
            try:
                await self._storage.disk(self._storage.spool.sweep)
                last = Progress()
                sweep = random.random() < EVERY / SWEEP_EVERY
                async for progress in self.collect(GRACE, sweep=sweep):
                    last = progress
                _log.info(
                    "garbage.collected",
                    condemned=last.condemned_count,
                    removed=last.removed_count,
                    bytes=last.removed_bytes,
                    abandoned=last.abandoned_count,
                )
            except SubgrpcError as error:
                _log.warning("garbage.failed", reason=error.reason, error=str(error))
            except Exception:
                # A mistake of ours must not let the store grow for ever.
                _log.exception("garbage.failed")

    async def collect(
        self, grace: timedelta, *, sweep: bool = True
    ) -> AsyncGenerator[Progress, None]:
        """Collects what is garbage by now.

        Args:
            grace: for how long what nothing refers to is kept, twice.
            sweep: whether the store is listed, for what the metastore does not know.

        Yields:
            How far it is: the same message, which changes.

        Raises:
            FailedPrecondition: RESTORE_UNCONFIRMED.
            SubgrpcError: what the store raises.
        """
        await self._storage.ready()
        if await self._store.restored():
            text = (
                "the metastore comes from a backup: what it does not refer to may be needed by "
                "a newer one. `subgrpc admin confirm` says that it is the one that counts"
            )
            raise FailedPrecondition(text, reason="RESTORE_UNCONFIRMED")
        progress, before = Progress(), self._before(grace)
        while await self._abandon(progress):
            yield progress
        while count := await self._condemn(before):
            progress.condemned_count += count
            yield progress
        # Seen anew: with no grace at all, what was condemned just now goes at once.
        before = self._before(grace)
        while gone := await self._store.write_ordered(lambda tx: blobs.condemned(tx, before)):
            await self._remove(gone, progress)
            yield progress
        if sweep:
            async for portion in self._portions():
                if stray := await self._strays(portion, before):
                    await self._remove(stray, progress)
                yield progress
            await self._storage.call(self._storage.store.abandoned, max(grace, GRACE))
        progress.done = True
        yield progress

    async def estimate(self, grace: timedelta) -> Progress:
        """What `collect` would find garbage now: it removes nothing."""
        await self._storage.ready()
        before, idle = self._before(grace), self._before(IDLE)

        def count(tx: Transaction) -> Progress:
            found = blobs.garbage(tx, before)
            return Progress(
                condemned_count=found.unused,
                removed_count=found.condemned,
                removed_bytes=found.condemned_bytes,
                abandoned_count=len(artifacts.idle(tx, idle, PORTION)),
            )

        progress = await self._store.write_unversioned(count)
        async for portion in self._portions():
            for each in await self._strays(portion, before):
                progress.removed_count += 1
                progress.removed_bytes += each.size
        progress.done = True
        return progress

    def _before(self, span: timedelta) -> int:
        return self._store.clock() - span // _MICROSECOND

    async def _abandon(self, progress: Progress) -> int:
        """Removes some of the OPEN artifacts that nobody adds to; returns how many."""
        before = self._before(IDLE)

        def remove(tx: Transaction) -> int:
            found = artifacts.idle(tx, before, ABANDONED)
            for each in found:
                artifacts.delete(tx, each)
            return len(found)

        count = await self._store.write_ordered(remove)
        progress.abandoned_count += count
        return count

    async def _condemn(self, before: int) -> int:
        """Condemns some of what nobody needs; returns how many."""
        return await self._store.write_ordered(lambda tx: blobs.condemn(tx, before))

    async def _remove(self, objects: Sequence[Condemned], progress: Progress) -> None:
        """Removes objects from the store, and then what the metastore knows of them."""
        for begin in range(0, len(objects), AT_ONCE):
            portion = objects[begin : begin + AT_ONCE]
            deleted = (self._storage.call(self._storage.store.delete, each.key) for each in portion)
            await asyncio.gather(*deleted)
        await self._store.write_ordered(lambda tx: blobs.remove(tx, [each.id for each in objects]))
        progress.removed_count += len(objects)
        progress.removed_bytes += sum(each.size for each in objects)

    async def _portions(self) -> AsyncIterator[list[StoredObject]]:
        """All that is in the store."""
        listed = await self._storage.call(self._storage.store.list, OBJECTS)
        while portion := await self._storage.call(lambda: list(islice(listed, PORTION))):
            yield portion

    async def _strays(self, portion: Sequence[StoredObject], before: int) -> list[Condemned]:
        """Objects of the store that the metastore does not know, and never will.

        They are reserved before they are put: one that it does not know was given up.
        """
        found = {
            name: Condemned(name, each.key, each.size)
            for each in portion
            if (name := object_id(each.key)) is not None and names.uid_time(name) < before
        }
        known = await self._store.write_unversioned(lambda tx: blobs.known(tx, found))
        return [each for name, each in found.items() if name not in known]
