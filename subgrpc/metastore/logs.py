"""Where the complete output of attempts is kept: their journals, and the blobs that hold them.

A row is made when `EngineTransaction.save_attempt` says that the output is complete (PENDING). Once
the journal's files are blobs of the artifact store the row lists them (ARCHIVED), and uses their
objects as an artifact does its own; the journal on the disk of the server that collected it is a
copy then (`local`), which may go. Retention ends it (EXPIRED). The row goes with its experiment.

What changes a row, but for the first insert, is for `Metastore.write_ordered` or `write`: see
`subgrpc.metastore.blobs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from subgrpc.errors import Aborted
from subgrpc.metastore import blobs
from subgrpc.metastore.database import ReadDatabase
from subgrpc.metastore.engine_transaction import EngineTransaction
from subgrpc.metastore.statements import Statements

DIGEST_SIZE: Final = 32
"""Bytes of a SHA-256."""


class LogState(IntEnum):
    """What has become of an attempt's complete output."""

    PENDING = 0
    ARCHIVED = 1
    EXPIRED = 2


class Log(NamedTuple):
    """The complete output of an attempt: the table's row.

    Attributes:
        experiment_uid: the experiment.
        attempt: its number.
        state: a LogState.
        server: the server that collected it.
        journal: `AttemptRow.journal`.
        local: whether that server still has its journal.
        end_time: when the attempt ended, µs.
        size: of the journal's files, bytes; 0 while PENDING.
        digests: of its blobs, one after the other; empty unless ARCHIVED.
        body: what they make up, for `subgrpc.journal.Manifest`; empty while PENDING.
    """

    experiment_uid: str
    attempt: int
    state: int
    server: str
    journal: int
    local: int
    end_time: int
    size: int
    digests: bytes
    body: bytes

    @property
    def blobs(self) -> list[bytes]:
        """The digest of each blob."""
        return split_digests(self.digests)


class LocalLog(NamedTuple):
    """A journal on its server's disk that is more than the only copy.

    Attributes:
        experiment_uid: the experiment.
        attempt: its number.
        end_time: when the attempt ended, µs.
        size: in bytes.
        state: ARCHIVED or EXPIRED.
    """

    experiment_uid: str
    attempt: int
    end_time: int
    size: int
    state: int


def split_digests(digests: bytes) -> list[bytes]:
    """Digests that were joined."""
    starts = range(0, len(digests), DIGEST_SIZE)
    return [digests[start : start + DIGEST_SIZE] for start in starts]


def user(uid: str, attempt: int) -> str:
    """What stands for an attempt's output among those that use objects."""
    return f"log/{uid}/{attempt}"


def archive(tx: EngineTransaction, log: Log, size: int, digests: bytes, body: bytes) -> bool:
    """An attempt's output is in the store; returns whether it was waited for.

    Raises:
        Aborted: OBJECT_CONDEMNED, some of it is there no more; the caller lets this pass through.
    """
    key = (log.experiment_uid, log.attempt)
    found = tx.query(tx.statements.logs.get, key)
    if not found or Log(*found[0])[2:5] != log[2:5]:
        return False
    wanted = set(split_digests(digests))
    places = blobs.places(tx, wanted)
    if missing := wanted - places.keys():
        text = f"{len(missing)} blobs of the log of {key[0]}, attempt {key[1]}, are not there"
        raise Aborted(text, reason="OBJECT_CONDEMNED")
    blobs.use(tx, user(*key), {each.object_id for each in places.values()})
    tx.run(tx.statements.logs.update, (LogState.ARCHIVED, size, digests, body, *key))
    return True


def expire(tx: EngineTransaction, before: int, count: int) -> list[Log]:
    """Ends some of the logs of attempts that ended before `before` (µs), at most `count`."""
    found = [Log(*row) for row in tx.query(tx.statements.logs.kept, (before, count, 0))]
    for log in found:
        key = (log.experiment_uid, log.attempt)
        blobs.let_go(tx, user(*key))
        tx.run(tx.statements.logs.update, (LogState.EXPIRED, log.size, b"", log.body, *key))
    return found


def released(tx: EngineTransaction, uid: str, attempt: int) -> None:
    """The server that collected an attempt's output does not have its journal any more."""
    tx.run(tx.statements.logs.release, (uid, attempt))


def forget(tx: EngineTransaction, uid: str) -> None:
    """An experiment is removed: its logs need nothing any more."""
    for row in tx.query(tx.statements.logs.of, (uid,)):
        blobs.let_go(tx, user(uid, Log(*row).attempt))
    tx.run(tx.statements.logs.delete, (uid,))


class LogReads:
    """What is read of logs: `Metastore.logs`; on the event loop, sees what was awaited.

    Where no other server can have a journal (`Metastore.shared`), the name of the server is empty,
    and stands for any: the folder was another one's perhaps, before it was restored.
    """

    def __init__(self, reader: ReadDatabase, statements: Statements) -> None:
        """For `Metastore`."""
        self._reader = reader
        self._statements = statements.logs

    async def get(self, uid: str, attempt: int) -> Log | None:
        """The output of an attempt; None: it is not complete, or there is no such attempt."""
        row = await self._reader.one(self._statements.get, (uid, attempt))
        return None if row is None else Log._make(row)

    async def pending(self, server: str, count: int) -> Sequence[tuple[str, int]]:
        """Uids and attempts whose output a server has to put into the store, oldest first."""
        rows = await self._reader.all(self._statements.pending, (*_servers(server), count))
        return [(uid, attempt) for _, uid, attempt in rows]

    async def local(self, server: str, count: int, skip: int) -> list[LocalLog]:
        """Journals that a server has and need not have, of the oldest attempts first."""
        rows = await self._reader.all(self._statements.local, (*_servers(server), count, skip))
        return [LocalLog._make(row) for row in rows]

    async def expired(self, server: str, count: int) -> Sequence[tuple[str, int]]:
        """Uids and attempts whose output has expired, while a server still has their journals."""
        rows = await self._reader.all(self._statements.expired, (*_servers(server), count))
        return [(uid, attempt) for uid, attempt in rows]

    async def local_size(self, server: str) -> int:
        """How many bytes they are."""
        row = await self._reader.one(self._statements.local_size, _servers(server))
        return 0 if row is None else int(row[0])


def _servers(server: str) -> tuple[str, str]:
    """The first and the last id that are meant; ids are letters and digits."""
    return (server, server) if server else ("", "~")
