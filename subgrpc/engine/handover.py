"""What a server does with an attempt that another server led before."""

from __future__ import annotations

import asyncio

import structlog

from subgrpc.engine.context import Context
from subgrpc.metastore import AttemptRow, Transaction

_log = structlog.get_logger(__name__)


async def keep_journal(context: Context, row: AttemptRow) -> None:
    """Sees to it that this server keeps the attempt's journal, before anything is collected.

    The journal of a server that led before stands on its disk, and it may never come back: the
    output is collected again from its beginning. What this server once kept of the attempt, before
    another did, is not gone on with: nobody knows what it missed.
    """
    if row.journal_server == context.server or not context.store.shared:
        return
    uid, number = row.experiment_uid, row.number
    await asyncio.to_thread(context.journals.delete_attempt, uid, number)

    def mutate(tx: Transaction) -> AttemptRow | None:
        stored = tx.attempt(uid, number)
        if stored is not None and stored.journal_server != context.server:
            stored.journal_server, stored.journal = context.server, stored.journal + 1
            tx.save_attempt(stored)
        return stored

    stored = await context.store.write_unversioned(mutate, fence=context.fence)
    if stored is not None:
        _log.info("journal.taken", uid=uid, attempt=number, before=row.journal_server)
        row.journal_server, row.journal = stored.journal_server, stored.journal
