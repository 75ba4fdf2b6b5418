"""What is read of artifacts: `Metastore.artifacts`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from subgrpc.filters import Filter, OrderBy
from subgrpc.metastore.database import ReadDatabase
from subgrpc.metastore.kinds import ARTIFACTS
from subgrpc.metastore.listing import Listing
from subgrpc.metastore.records import FileBatch, Key, ListPage
from subgrpc.metastore.statements import Statements


class StoredArtifact(NamedTuple):
    """An artifact as it is stored.

    Attributes:
        body: the serialised Artifact.
        tail: what `Transaction.save_artifact` was given with it.
    """

    body: bytes
    tail: bytes


class ArtifactReads:
    """The reads, on the event loop; each sees every write that was awaited."""

    def __init__(self, reader: ReadDatabase, statements: Statements, listing: Listing) -> None:
        """For `Metastore`."""
        self._reader = reader
        self._statements = statements.artifacts
        self._listing = listing

    async def get(self, team: str, artifact_id: str) -> StoredArtifact | None:
        """The artifact of that name; None: there is none."""
        row = await self._reader.one(self._statements.by_name, (team, artifact_id))
        return None if row is None else StoredArtifact._make(row)

    async def by_uid(self, uid: str) -> StoredArtifact | None:
        """The artifact with that uid; None: there is none."""
        row = await self._reader.one(self._statements.stored, (uid,))
        return None if row is None else StoredArtifact._make(row)

    async def page(
        self,
        team: str,
        *,
        filter: Filter | None,  # noqa: A002 - the word of the API
        order: OrderBy,
        after: Key | None,
        limit: int,
    ) -> ListPage:
        """A page of a team's artifacts: as `Metastore.list_experiments`."""
        scope = {"team": team}
        return await self._listing.resources(ARTIFACTS, scope, filter, order, after, limit)

    async def files(self, uid: str, number: int) -> FileBatch | None:
        """One of the batches of an artifact's files; None: there is none of that number."""
        row = await self._reader.one(self._statements.files, (uid, number))
        return None if row is None else FileBatch._make(row)

    async def batches(self, uid: str) -> AsyncIterator[FileBatch]:
        """All files of an artifact, one batch in memory at a time; nothing stays open meanwhile."""
        number = 0
        while (batch := await self.files(uid, number)) is not None:
            yield batch
            number += 1

    async def file_counts(self, uid: str) -> list[int]:
        """How many files each of the batches has."""
        rows = await self._reader.all(self._statements.file_counts, (uid,))
        return [count for _, count in rows]

    async def batch_of_path(self, uid: str, path: str) -> int:
        """The number of the batch where a path is, if it is anywhere."""
        row = await self._reader.one(self._statements.batch_of_path, (uid, path))
        return 0 if row is None or row[0] is None else row[0]

    async def referrers(self, uid: str, limit: int = 100) -> list[str]:
        """Names of what needs an artifact."""
        rows = await self._reader.all(self._statements.referrers, (uid, limit))
        return [each for (each,) in rows]
