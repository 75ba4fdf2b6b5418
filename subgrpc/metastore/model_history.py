"""The history of a model: what one mutation adds to it, and where an alias was before."""

from __future__ import annotations

from typing import Final

from subgrpc.metastore.times import set_time
from subgrpc.metastore.transaction import Transaction
from subgrpc.v1.model_registry_service_pb2 import ModelEvent

_UNKNOWN: Final = -1


class History:
    """What one mutation adds to the history of one model."""

    def __init__(self, tx: Transaction, model_uid: str, actor: str, message: str = "") -> None:
        """Takes who does it, and why."""
        self._tx = tx
        self._uid = model_uid
        self._actor = actor
        self._message = message
        self._last = _UNKNOWN

    def add(self, event: ModelEvent, below: int = 0) -> int:
        """Appends an entry, with time and actor, and returns its sequence.

        Args:
            event: what happened.
            below: of an alias that was set: the entry that a rollback goes back to; 0: none.
        """
        tx = self._tx
        if self._last == _UNKNOWN:
            rows = tx.query(tx.statements.models.last_event, (self._uid,))
            self._last = rows[0][0] if rows else 0
        event.sequence = self._last = self._last + 1
        event.actor = self._actor
        event.message = event.message or self._message
        set_time(event.time, tx.now)
        row = (
            *(self._uid, event.sequence, event.type, event.version, event.alias, event.actor),
            *(tx.now, below, event.SerializeToString()),
        )
        tx.run(tx.statements.models.insert_event, row)
        return event.sequence

    def below(self, sequence: int) -> int:
        """The entry that a rollback goes back to from one that set an alias; 0: there is none."""
        below, _ = self._entry(sequence)
        return below

    def version_of(self, sequence: int) -> int:
        """The number of the version to which an entry had an alias refer."""
        _, event = self._entry(sequence)
        return event.version

    def _entry(self, sequence: int) -> tuple[int, ModelEvent]:
        rows = self._tx.query(self._tx.statements.models.target, (self._uid, sequence))
        below, body = rows[0]
        return below, ModelEvent.FromString(body)
