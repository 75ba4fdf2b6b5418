"""The use cases of the registry on a metastore of their own, without a server."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from subgrpc import names
from subgrpc.metastore import Metastore, Transaction, artifacts
from subgrpc.services.model_aliases import ModelAliases
from subgrpc.services.model_versions import ModelVersions
from subgrpc.services.models import Models
from subgrpc.tokens import TokenCodec
from subgrpc.v1 import model_registry_service_pb2 as api
from subgrpc.v1.artifact_service_pb2 import ARTIFACT_STATE_READY, Artifact
from subgrpc.v1.model_registry_service_pb2 import ModelVersion

TEAM = "teams/default"
DIGITS = f"{TEAM}/models/digits"
ARTIFACT = f"{TEAM}/artifacts/a"


class Registry:
    """The registry, with what tests say often."""

    def __init__(self, store: Metastore) -> None:
        tokens = TokenCodec(store.identity.token_key, store.identity.history_id)
        self.store = store
        self.models = Models(store, tokens)
        self.versions = ModelVersions(store, tokens)
        self.aliases = ModelAliases(store)

    @classmethod
    async def open(cls, folder: Path, database: str = "") -> Registry:
        """A registry with the artifact `a`."""
        store = await Metastore.open(folder, database=database)

        def insert(tx: Transaction) -> None:
            made = Artifact(name=ARTIFACT, uid=names.new_uid(), state=ARTIFACT_STATE_READY)
            made.digest = hashlib.sha256(b"").hexdigest()  # It has no files.
            artifacts.insert(tx, made)

        await store.write_ordered(insert)
        return cls(store)

    async def register(self, model: str = DIGITS, **fields: Any) -> ModelVersion:
        """Makes a version of the artifact."""
        request = api.CreateModelVersionRequest(
            parent=model,
            model_version=ModelVersion(artifact=ARTIFACT, **fields),
            create_model=True,
        )
        raw = await self.versions.create(request, "ann")
        return api.CreateModelVersionResponse.FromString(raw).model_version

    async def model(self, name: str = DIGITS) -> api.Model:
        """A model as it is."""
        raw = await self.models.get(api.GetModelRequest(name=name))
        return api.GetModelResponse.FromString(raw).model

    async def version(self, number: int) -> ModelVersion:
        """A version of `digits` as it is."""
        name = f"{DIGITS}/versions/{number}"
        raw = await self.versions.get(api.GetModelVersionRequest(name=name))
        return api.GetModelVersionResponse.FromString(raw).model_version

    async def history(self) -> list[api.ModelEvent]:
        """The history of `digits`."""
        raw = await self.models.history(api.ListModelHistoryRequest(parent=DIGITS, page_size=1000))
        return list(api.ListModelHistoryResponse.FromString(raw).events)
