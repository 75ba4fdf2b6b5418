"""Where the output of an attempt stands: on a server's disk, in the artifact store, or nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from enum import Enum
from typing import Final, NamedTuple, Protocol

from subgrpc.errors import OutOfRange, Unavailable
from subgrpc.journal import JournalReader, JournalStore
from subgrpc.metastore import Metastore
from subgrpc.metastore.logs import Log, LogState
from subgrpc.services.log_frames import Cursor
from subgrpc.services.log_reached import TOO_MANY
from subgrpc.services.log_store import LogCache
from subgrpc.v1.experiment_service_pb2 import StreamLogsRequest

LOOKED_AT: Final = 1.0
"""Seconds after which a follower to whom nothing comes looks where its journal stands now."""
RETRY: Final = 0.5
"""Seconds after which whoever found no server with the output may ask again."""
_MANY: Final = 1000


class Peers(Protocol):
    """The other servers of this control plane."""

    def logs(
        self, server: str, request: StreamLogsRequest, attempt: int
    ) -> AsyncGenerator[bytes, None]:
        """Streams one attempt's output from the server that keeps it: see `Logs.stream`.

        Yields serialised responses, none before the one before was taken; and nothing (b"") after
        each moment of silence.

        Raises:
            Unavailable: LOGS_UNAVAILABLE, the server cannot be reached.
            SubgrpcError: what the server answers.
        """


class Place(NamedTuple):
    """Where an attempt's journal stands, among servers that share a metastore.

    Attributes:
        server: the id of the server; empty: there is none yet.
        journal: how often that has changed.
        complete: whether no more output will come to it.
    """

    server: str
    journal: int
    complete: bool


class Origin(Enum):
    """What an attempt's output is to be read from."""

    NOWHERE = "no output was ever collected"
    HERE = "this server's journal"
    PEER = "the journal of another server"
    STORE = "the artifact store"
    EXPIRED = "nothing any more: retention has ended it"


class Found(NamedTuple):
    """Where an attempt's output was found.

    Attributes:
        origin: what it is to be read from.
        place: where its journal stands; None: only this server can have it, or nobody has.
        log: what the store has, if it is STORE or EXPIRED.
    """

    origin: Origin
    place: Place | None = None
    log: Log | None = None


class Places:
    """Knows where output stands."""

    def __init__(
        self, metastore: Metastore, journals: JournalStore, cache: LogCache | None, *, peers: bool
    ) -> None:
        """`cache`: what the store has; `peers`: whether other servers can have output, too."""
        self._metastore = metastore
        self._journals = journals
        self._cache = cache
        self._peers = peers
        self._recent: dict[tuple[str, int], tuple[float, Place | None]] = {}

    async def find(self, uid: str, attempt: int) -> Found:
        """Where an attempt's output is to be read from now."""
        if not self._peers:
            if self._journals.exists(uid, attempt):
                return Found(Origin.HERE)
            return await self._stored(uid, attempt, None) or Found(Origin.HERE)
        place = await self.of(uid, attempt)
        if place is None or not place.server:
            return Found(Origin.NOWHERE, place)
        here = place.server == self._metastore.server_id
        if here and self._journals.exists(uid, attempt):
            return Found(Origin.HERE, place)
        stored = await self._stored(uid, attempt, place) if place.complete else None
        return stored or Found(Origin.HERE if here else Origin.PEER, place)

    async def is_readable(self, uid: str, attempt: int) -> bool:
        """Whether this server needs no other one to answer for an attempt that is complete."""
        try:
            place = await self.of(uid, attempt)
            return place is not None and await self._stored(uid, attempt, place) is not None
        except Unavailable:
            return False  # the metastore is away as well

    def fetched(self, log: Log) -> JournalReader:
        """A reader of what the store has."""
        assert self._cache is not None
        return self._cache.reader(log)

    async def _stored(self, uid: str, attempt: int, place: Place | None) -> Found | None:
        log = None if self._cache is None else await self._cache.look(uid, attempt)
        if self._cache is None or log is None or log.state == LogState.PENDING:
            return None
        if log.state == LogState.EXPIRED:
            return Found(Origin.EXPIRED, place, log)
        # A server that cannot use the store asks the one that may still have the journal.
        foreign = place is not None and place.server != self._metastore.server_id
        if foreign and not await self._cache.is_usable():
            return None
        return Found(Origin.STORE, place, log)

    async def of(self, uid: str, attempt: int) -> Place | None:
        """Where an attempt's journal stands now; None: there is no such attempt."""
        row = await self._metastore.attempt(uid, attempt)
        return None if row is None else Place(row.journal_server, row.journal, row.logs_complete)

    async def recent(self, uid: str, attempt: int) -> Place | None:
        """The same, as it was at most `LOOKED_AT` ago: the followers of an attempt ask together."""
        key, now = (uid, attempt), asyncio.get_running_loop().time()
        then, place = self._recent.get(key, (-LOOKED_AT, None))
        if now - then < LOOKED_AT:
            return place
        if len(self._recent) > _MANY:
            self._recent.clear()
        place = await self.of(uid, attempt)
        self._recent[key] = (now, place)
        return place


def rebased(cursor: Cursor, journal: int, reader: JournalReader) -> Cursor:
    """Where a cursor stands in an attempt's journal of that number.

    Raises:
        OutOfRange: the token does not tell.
    """
    if cursor.journal == journal:
        try:
            reader.at_end(cursor.position)
            return cursor
        except OutOfRange:  # lost in a crash; it is collected again
            pass
    if cursor.offsets == TOO_MANY:
        raise OutOfRange(
            "another server collects the output by now, and of so many streams a token does not "
            "tell how far each has come: follow again from the start",
            reason="RESUME_TOKEN_EXPIRED",
        )
    return Cursor(cursor.attempt, journal=journal, offsets=cursor.offsets)


def not_kept(name: str, attempt: int) -> Unavailable:
    """What a server says that is asked for output which stands elsewhere by now."""
    text = f"the output of {name}, attempt {attempt}, is not kept by this server any more"
    return Unavailable(text, reason="LOGS_UNAVAILABLE", retry_after=RETRY)
