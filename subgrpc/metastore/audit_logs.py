"""Looks whether the artifact store should have all of what the metastore says of logs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from subgrpc.metastore.logs import LogState, split_digests, user
from subgrpc.metastore.tables import table

MANY = 500
"""Digests that one query asks for."""


def log_problems(
    connection: Connection, attempts: Sequence[Row[Any]], found: Sequence[Row[Any]]
) -> Iterator[tuple[str, str]]:
    """Yields code and message of what is wrong with an experiment's logs.

    Args:
        connection: as the audit's.
        attempts: the experiment's rows of `attempt`.
        found: its rows of `log`.
    """
    complete = {row.number for row in attempts if row.logs_complete}
    known = {row.attempt for row in found}
    for number in sorted(complete ^ known):
        rest = "no row says where" if number in complete else "a row says where it is kept"
        yield "LOG", f"the output of attempt {number} is{_not(number, complete)} complete, {rest}"
    for row in found:
        if row.state == LogState.ARCHIVED and (text := _missing(connection, row)):
            yield "LOG_MISSING", f"the log of attempt {row.attempt}: {text}"


def is_pending(connection: Connection, uid: str, attempt: int) -> bool:
    """Whether only a server's disk has the complete output of an attempt."""
    log = table("log").c
    mine = (log.experiment_uid == uid, log.attempt == attempt, log.state == LogState.PENDING)
    return connection.execute(select(log.state).where(*mine)).first() is not None


def _not(number: int, complete: set[int]) -> str:
    return "" if number in complete else " not"


def _missing(connection: Connection, row: Row[Any]) -> str:
    """What of an archived log is not in the store, as far as the metastore knows."""
    it, blob, use = table("object"), table("blob"), table("artifact_object")
    wanted = sorted(set(split_digests(row.digests)))
    there: dict[bytes, str] = {}
    for start in range(0, len(wanted), MANY):
        places = (
            select(blob.c.digest, it.c.id)
            .select_from(blob.join(it, it.c.id == blob.c.object_id))
            .where(it.c.ready == 1, it.c.condemned_time == 0)
            .where(blob.c.digest.in_(wanted[start : start + MANY]))
        )
        there.update((digest, name) for digest, name in map(tuple, connection.execute(places)))
    if len(there) < len(wanted):
        return f"{len(wanted) - len(there)} of its {len(wanted)} blobs are not there"
    name = user(row.experiment_uid, row.attempt)
    used = select(use.c.object_id).where(use.c.artifact_uid == name)
    unused = set(there.values()) - {each for (each,) in map(tuple, connection.execute(used))}
    return f"{len(unused)} objects that it needs are not kept for it" if unused else ""
