"""What is read of the model registry: `Metastore.models`."""

from __future__ import annotations

from subgrpc.filters import Filter, OrderBy
from subgrpc.metastore.database import ReadDatabase
from subgrpc.metastore.kinds import MODEL_EVENTS, MODEL_VERSIONS, MODELS
from subgrpc.metastore.listing import Listing
from subgrpc.metastore.records import Key, ListPage
from subgrpc.metastore.statements import Statements
from subgrpc.names import AliasName, ModelName, VersionName


class ModelReads:
    """The reads, on the event loop; each sees every write that was awaited."""

    def __init__(self, reader: ReadDatabase, statements: Statements, listing: Listing) -> None:
        """For `Metastore`."""
        self._reader = reader
        self._statements = statements.models
        self._listing = listing

    async def get(self, name: ModelName) -> bytes | None:
        """The serialised Model of that name; None: there is none."""
        row = await self._reader.one(self._statements.get, name)
        return None if row is None else row[0]

    async def version(self, name: VersionName) -> bytes | None:
        """The serialised ModelVersion of that name; None: there is none."""
        row = await self._reader.one(self._statements.version, name)
        return None if row is None else row[0]

    async def version_of_alias(self, name: AliasName) -> bytes | None:
        """The version that an alias refers to; None: there is no such alias."""
        row = await self._reader.one(self._statements.version_by_alias, name)
        return None if row is None else row[0]

    async def latest(self, name: ModelName) -> bytes | None:
        """The version with the greatest number; None: there is none."""
        row = await self._reader.one(self._statements.latest, name)
        return None if row is None else row[0]

    async def page(
        self,
        team: str,
        *,
        filter: Filter | None,  # noqa: A002 - the word of the API
        order: OrderBy,
        after: Key | None,
        limit: int,
    ) -> ListPage:
        """A page of a team's models: as `Metastore.list_experiments`."""
        scope = {"team": team}
        return await self._listing.resources(MODELS, scope, filter, order, after, limit)

    async def versions(
        self,
        team: str,
        model: str | None,
        *,
        filter: Filter | None,  # noqa: A002
        order: OrderBy,
        after: Key | None,
        limit: int,
    ) -> ListPage:
        """A page of the versions of a model; None: of all, which have no order by number."""
        scope = {"team": team} if model is None else {"team": team, "model_id": model}
        return await self._listing.resources(MODEL_VERSIONS, scope, filter, order, after, limit)

    async def history(
        self,
        uid: str,
        *,
        filter: Filter | None,  # noqa: A002
        order: OrderBy,
        after: Key | None,
        limit: int,
    ) -> ListPage:
        """A page of the history of the model with that uid, by sequence."""
        scope = {"model_uid": uid}
        return await self._listing.resources(MODEL_EVENTS, scope, filter, order, after, limit)
