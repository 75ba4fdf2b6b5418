"""Removes what is kept for a time only: changes and request ids."""

from __future__ import annotations

from itertools import takewhile

from subgrpc.metastore.transaction import Transaction

BATCH = 500
"""Rows that one write removes."""


def prune_changes(tx: Transaction, too_old: int, too_far: int) -> bool:
    """Removes some of the changes made before `too_old` (µs) or up to revision `too_far`.

    Returns:
        Whether there may be more to remove.
    """
    tx.query(tx.statements.pruned_locked)  # Before the rows: as every writer takes its locks.
    rows = tx.query(tx.statements.oldest_changes, (BATCH,))
    gone = list(takewhile(lambda row: row[1] < too_old or row[0] <= too_far, rows))
    if gone:
        last = gone[-1][0]
        tx.run(tx.statements.delete_changes, (last,))
        tx.run(tx.statements.set_pruned, (last, last))
    return len(gone) == BATCH


def prune_requests(tx: Transaction, too_old: int) -> bool:
    """Removes some of the request ids remembered before `too_old` (µs); returns as above."""
    rows = tx.query(tx.statements.oldest_requests, (too_old, BATCH))
    if rows:
        tx.run(tx.statements.delete_requests, (rows[-1][0],))
    return len(rows) == BATCH
