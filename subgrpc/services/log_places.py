"""Where the journal of an attempt stands, among servers that share a metastore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final, NamedTuple, Protocol

from subgrpc.errors import Unavailable
from subgrpc.metastore import Metastore
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
    """Where an attempt's journal stands.

    Attributes:
        server: the id of the server; empty: there is none yet.
        journal: how often that has changed.
        complete: whether no more output will come to it.
    """

    server: str
    journal: int
    complete: bool


class Places:
    """Knows where journals stand."""

    def __init__(self, metastore: Metastore) -> None:
        self._metastore = metastore
        self._recent: dict[tuple[str, int], tuple[float, Place | None]] = {}

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


def not_kept(name: str, attempt: int) -> Unavailable:
    """What a server says that is asked for output which stands elsewhere by now."""
    text = f"the output of {name}, attempt {attempt}, is not kept by this server any more"
    return Unavailable(text, reason="LOGS_UNAVAILABLE", retry_after=RETRY)
