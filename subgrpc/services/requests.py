"""Mutations that may be repeated: what was done under a request id is not done again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.message import Message

from subgrpc.errors import AlreadyExists
from subgrpc.metastore import Metastore, Transaction
from subgrpc.metastore.records import RequestKey


class Resource(Protocol):
    """What mutations are about: a message with a uid."""

    uid: str


R = TypeVar("R", bound=Resource)
Mutation = Callable[[Transaction], R | None]
"""Changes a resource and returns it; None: there is none, and that is fine."""
Find = Callable[[Transaction, str], R | None]
"""Returns the resource with a uid."""


@dataclass(frozen=True, slots=True)
class Once(Generic[R]):
    """One mutation as its caller asked for it.

    Attributes:
        principal: who asks.
        method: the request's type.
        request_id: empty: nothing is remembered.
        body_hash: SHA-256 of the request without its id.
        find: returns what it is about, as it is now.
    """

    principal: str
    method: str
    request_id: str
    body_hash: bytes
    find: Find[R]

    @classmethod
    def of(cls, principal: str, request: Any, find: Find[R]) -> Once[R]:
        """Reads a request that has a `request_id`."""
        method = request.DESCRIPTOR.name
        if not request.request_id:
            return cls(principal, method, "", b"", find)
        body: Message = type(request)()
        body.CopyFrom(request)
        body.ClearField("request_id")
        digest = hashlib.sha256(body.SerializeToString(deterministic=True)).digest()
        return cls(principal, method, request.request_id, digest, find)

    async def write(
        self, store: Metastore, mutation: Mutation[R], *, ordered: bool = False
    ) -> R | None:
        """Carries out the mutation, or, if that was done before, returns what became of it.

        Args:
            store: where.
            mutation: what to do.
            ordered: by `Metastore.write_ordered`: it makes no revision.

        Raises:
            AlreadyExists: reason REQUEST_ID_REUSED: the id was used with another body.
            SubgrpcError: what the mutation raises; nothing is remembered then.
        """

        def once(tx: Transaction) -> R | None:
            done, found = self._repeat(tx)
            if done:
                return found
            found = mutation(tx)
            uid = found.uid if found is not None else ""
            tx.remember(self.principal, self.method, self.request_id, self.body_hash, uid)
            return found

        write = store.write_ordered if ordered else store.write
        if not self.request_id:
            return await write(mutation)
        return await write(once, request=RequestKey(self.principal, self.method, self.request_id))

    def is_done(self, tx: Transaction) -> bool:
        """Whether something was done under this id before, also with another body."""
        if not self.request_id:
            return False
        return tx.remembered(self.principal, self.method, self.request_id) is not None

    async def repeated(self, store: Metastore) -> R | None:
        """What became of an earlier request of this id; None: there was none, or it is gone."""
        if not self.request_id:
            return None
        return await store.write_unversioned(lambda tx: self._repeat(tx)[1])

    def _repeat(self, tx: Transaction) -> tuple[bool, R | None]:
        """Whether this was done before, and what it concerned."""
        if not self.request_id:
            return False, None
        known = tx.remembered(self.principal, self.method, self.request_id)
        if known is None:
            return False, None
        if known.body_hash != self.body_hash:
            text = (
                f"request_id {self.request_id!r} was used for another {self.method} "
                "within 24 hours; use a new one"
            )
            raise AlreadyExists(text, reason="REQUEST_ID_REUSED")
        return True, self.find(tx, known.uid)
