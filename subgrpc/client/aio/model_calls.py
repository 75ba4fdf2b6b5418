"""The calls of ModelRegistryService: one method each, with the answer's resource."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterable

from subgrpc.client.aio.artifact_calls import AsyncArtifactCalls
from subgrpc.client.aio.connection import AsyncReader
from subgrpc.client.aio.streams import AsyncStream
from subgrpc.client.aio.unary import DEFAULT_PARENT
from subgrpc.client.resume import PATIENCE
from subgrpc.errors import SubgrpcError
from subgrpc.v1 import model_registry_service_pb2 as v1
from subgrpc.v1.model_registry_service_pb2 import (
    Model,
    ModelAlias,
    ModelEvent,
    ModelSource,
    ModelVersion,
)


class AsyncModelCalls(AsyncArtifactCalls):
    """The methods of `AsyncCalls` that are about models."""

    async def create_model(
        self,
        model: Model,
        *,
        model_id: str,
        parent: str = DEFAULT_PARENT,
        request_id: str = "",
    ) -> Model:
        """Creates a model without versions."""
        request = v1.CreateModelRequest(
            parent=parent, model_id=model_id, model=model, request_id=request_id or _new_id()
        )
        call = self._connection.call
        return (await call(self._connection.models.CreateModel, request)).model

    async def get_model(self, name: str) -> Model:
        """Returns one model."""
        request = v1.GetModelRequest(name=name)
        call = self._connection.call
        return (await call(self._connection.models.GetModel, request)).model

    def list_models(
        self,
        *,
        parent: str = DEFAULT_PARENT,
        filter: str = "",  # noqa: A002 - the name of the request's field
        order_by: str = "",
        page_size: int = 0,
    ) -> AsyncIterator[Model]:
        """Yields models, page after page, newest first unless `order_by` says otherwise."""
        request = v1.ListModelsRequest(
            parent=parent, filter=filter, order_by=order_by, page_size=page_size
        )
        return self._pages(
            lambda: self._connection.models.ListModels, request, lambda page: page.models
        )

    async def update_model(
        self, model: Model, paths: Iterable[str], *, request_id: str = ""
    ) -> Model:
        """Changes the fields of a model that the mask `paths` names."""
        request = v1.UpdateModelRequest(model=model, request_id=request_id or _new_id())
        request.update_mask.paths.extend(paths)
        call = self._connection.call
        return (await call(self._connection.models.UpdateModel, request)).model

    async def delete_model(
        self,
        name: str,
        *,
        force: bool = False,
        allow_missing: bool = False,
        etag: str = "",
        request_id: str = "",
    ) -> Model | None:
        """Deletes a model for good; None: there was none, and `allow_missing` was set."""
        request = v1.DeleteModelRequest(
            name=name,
            force=force,
            etag=etag,
            allow_missing=allow_missing,
            request_id=request_id or _new_id(),
        )
        answer = await self._connection.call(self._connection.models.DeleteModel, request)
        return answer.model if answer.HasField("model") else None

    async def create_model_version(
        self,
        parent: str,
        version: ModelVersion,
        *,
        source: ModelSource | None = None,
        aliases: Iterable[str] = (),
        create_model: bool = False,
        message: str = "",
        request_id: str = "",
    ) -> ModelVersion:
        """Makes an artifact, or the output of an experiment, the next version of a model."""
        request = v1.CreateModelVersionRequest(
            parent=parent,
            model_version=version,
            source=source,
            aliases=aliases,
            create_model=create_model,
            message=message,
            request_id=request_id or _new_id(),
        )
        call = self._connection.call
        return (await call(self._connection.models.CreateModelVersion, request)).model_version

    async def get_model_version(self, name: str) -> ModelVersion:
        """Returns one version, by its name or that of an alias."""
        request = v1.GetModelVersionRequest(name=name)
        call = self._connection.call
        return (await call(self._connection.models.GetModelVersion, request)).model_version

    def list_model_versions(
        self,
        parent: str,
        *,
        filter: str = "",  # noqa: A002
        order_by: str = "",
        page_size: int = 0,
    ) -> AsyncIterator[ModelVersion]:
        """Yields the versions of a model, or of all (`teams/TEAM/models/-`)."""
        request = v1.ListModelVersionsRequest(
            parent=parent, filter=filter, order_by=order_by, page_size=page_size
        )
        return self._pages(
            lambda: self._connection.models.ListModelVersions,
            request,
            lambda page: page.model_versions,
        )

    async def update_model_version(
        self, version: ModelVersion, paths: Iterable[str], *, request_id: str = ""
    ) -> ModelVersion:
        """Changes the fields of a version that the mask `paths` names."""
        request = v1.UpdateModelVersionRequest(
            model_version=version, request_id=request_id or _new_id()
        )
        request.update_mask.paths.extend(paths)
        call = self._connection.call
        return (await call(self._connection.models.UpdateModelVersion, request)).model_version

    async def delete_model_version(
        self,
        name: str,
        *,
        force: bool = False,
        allow_missing: bool = False,
        message: str = "",
        etag: str = "",
        request_id: str = "",
    ) -> ModelVersion | None:
        """Deletes a version for good; None: there was none, and `allow_missing` was set."""
        request = v1.DeleteModelVersionRequest(
            name=name,
            force=force,
            etag=etag,
            allow_missing=allow_missing,
            message=message,
            request_id=request_id or _new_id(),
        )
        answer = await self._connection.call(self._connection.models.DeleteModelVersion, request)
        return answer.model_version if answer.HasField("model_version") else None

    async def set_model_version_stage(
        self,
        name: str,
        stage: str,
        *,
        archive_existing: bool = False,
        message: str = "",
        etag: str = "",
        request_id: str = "",
    ) -> ModelVersion:
        """Moves a version to a stage."""
        request = v1.SetModelVersionStageRequest(
            name=name,
            stage=stage,
            archive_existing=archive_existing,
            message=message,
            etag=etag,
            request_id=request_id or _new_id(),
        )
        call = self._connection.call
        return (await call(self._connection.models.SetModelVersionStage, request)).model_version

    async def set_model_alias(
        self, name: str, number: int, *, message: str = "", etag: str = "", request_id: str = ""
    ) -> ModelAlias:
        """Has an alias refer to a version."""
        request = v1.SetModelAliasRequest(
            name=name,
            number=number,
            message=message,
            etag=etag,
            request_id=request_id or _new_id(),
        )
        call = self._connection.call
        return (await call(self._connection.models.SetModelAlias, request)).model_alias

    async def delete_model_alias(
        self,
        name: str,
        *,
        allow_missing: bool = False,
        message: str = "",
        etag: str = "",
        request_id: str = "",
    ) -> ModelAlias | None:
        """Removes an alias; None: there was none, and `allow_missing` was set."""
        request = v1.DeleteModelAliasRequest(
            name=name,
            allow_missing=allow_missing,
            message=message,
            etag=etag,
            request_id=request_id or _new_id(),
        )
        answer = await self._connection.call(self._connection.models.DeleteModelAlias, request)
        return answer.model_alias if answer.HasField("model_alias") else None

    async def rollback_model_alias(
        self, name: str, *, message: str = "", etag: str = "", request_id: str = ""
    ) -> ModelAlias:
        """Has an alias refer to what it did before it was last set."""
        request = v1.RollbackModelAliasRequest(
            name=name, message=message, etag=etag, request_id=request_id or _new_id()
        )
        call = self._connection.call
        return (await call(self._connection.models.RollbackModelAlias, request)).model_alias

    def list_model_history(
        self,
        parent: str,
        *,
        filter: str = "",  # noqa: A002
        order_by: str = "",
        page_size: int = 0,
    ) -> AsyncIterator[ModelEvent]:
        """Yields the history of a model, oldest first unless `order_by` says otherwise."""
        request = v1.ListModelHistoryRequest(
            parent=parent, filter=filter, order_by=order_by, page_size=page_size
        )
        return self._pages(
            lambda: self._connection.models.ListModelHistory, request, lambda page: page.events
        )

    def watch_models(
        self,
        *,
        parent: str = DEFAULT_PARENT,
        filter: str = "",  # noqa: A002
        resume_token: str = "",
        patience: float = PATIENCE,
        on_loss: Callable[[SubgrpcError], None] | None = None,
        on_back: Callable[[], None] | None = None,
    ) -> AsyncStream[v1.WatchModelsResponse]:
        """Returns models and versions that match a filter, then every change in commit order.

        Args:
            parent: the team.
            filter: over the fields of both, and `kind` (MODEL or VERSION).
            resume_token: of a frame received earlier by the same request.
            patience: as in `AsyncStream`.
            on_loss: as in `AsyncStream`.
            on_back: as in `AsyncStream`.
        """
        request = v1.WatchModelsRequest(parent=parent, filter=filter)

        def open_call(token: str) -> AsyncReader[v1.WatchModelsResponse]:
            request.resume_token = token
            call = self._connection.model_streams.WatchModels(
                request, metadata=self._connection.target.metadata
            )
            return AsyncReader(call, self._connection)

        return AsyncStream(
            open_call,
            address=self.address,
            resume_token=resume_token,
            patience=patience,
            on_loss=on_loss,
            on_back=on_back,
        )


def _new_id() -> str:
    return str(uuid.uuid4())
