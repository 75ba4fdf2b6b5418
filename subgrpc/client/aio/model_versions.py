"""The versions of models."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING

from subgrpc import names
from subgrpc.client.aio.artifacts import AsyncArtifacts
from subgrpc.client.modelnames import (
    FrameworkLike,
    SignatureLike,
    framework_of,
    is_alias,
    model_name,
    signature_of,
    source_of,
    version_name,
)
from subgrpc.client.patience import PATIENCE
from subgrpc.client.transfer.progress import OnProgress
from subgrpc.client.transfer.results import Pulled
from subgrpc.v1.model_registry_service_pb2 import ModelLineage, ModelSource, ModelVersion

if TYPE_CHECKING:
    from subgrpc.client.aio.calls import AsyncCalls

_EVERY_MODEL = f"{names.team_name(names.DEFAULT_TEAM)}/models/-"


class AsyncModelVersions:
    """The methods of models that are about a version."""

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def register(
        self,
        name: str,
        source: str,
        *,
        attempt: int = 0,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        stage: str = "",
        aliases: Iterable[str] = (),
        framework: FrameworkLike | None = None,
        signature: SignatureLike | None = None,
        metrics: Mapping[str, float] | None = None,
        parents: Iterable[str] = (),
        create_model: bool = True,
        message: str = "",
        request_id: str = "",
    ) -> ModelVersion:
        """Makes an artifact, or the output of an experiment, the next version of a model.

        Args:
            name: the model.
            source: an artifact, by id or full name; or an output, as EXPERIMENT/OUTPUT.
            attempt: of an output: which attempt's; 0: the last one that has it.
            description: free text.
            tags: tags to find it by.
            stage: the stage that it is in at once; empty: None.
            aliases: aliases that refer to it from now on.
            framework: what it was made with, such as "sklearn==1.5.2".
            signature: what it takes and gives.
            metrics: how good it is, by name.
            parents: versions that it was made of.
            create_model: create the model if it is not there.
            message: why, for its history.
            request_id: a repeat with the same one returns the same version.

        Raises:
            NotFound: there is no such artifact, output, parent version or (without
                `create_model`) model.
            FailedPrecondition: reason ARTIFACT_NOT_READY.
        """
        origin = source_of(source, attempt)
        version = ModelVersion(
            artifact=origin if isinstance(origin, str) else "",
            description=description,
            tags=tags,
            stage=stage,
            framework=framework_of(framework),
            signature=signature_of(signature),
            metrics=metrics,
            lineage=ModelLineage(parent_versions=[await self._version(each) for each in parents]),
        )
        return await self._calls.create_model_version(
            model_name(name),
            version,
            source=origin if isinstance(origin, ModelSource) else None,
            aliases=aliases,
            create_model=create_model,
            message=message,
            request_id=request_id,
        )

    async def version(self, name: str) -> ModelVersion:
        """Returns a version, such as `digits/3`, `digits@champion` or `digits@latest`.

        Raises:
            NotFound: there is none, or no such alias.
        """
        return await self._calls.get_model_version(version_name(name))

    async def pull(
        self,
        name: str,
        target: str | os.PathLike[str],
        *,
        path: str = "",
        force: bool = False,
        direct: bool = True,
        patience: float = PATIENCE,
        on_progress: OnProgress | None = None,
    ) -> Pulled:
        """Puts the files of a version, such as `digits@champion`, into a folder.

        Arguments and errors are those of `artifacts.pull`.

        Raises:
            NotFound: there is no such version or alias.
        """
        version = await self.version(name)
        return await AsyncArtifacts(self._calls).pull(
            version.artifact,
            target,
            path=path,
            force=force,
            direct=direct,
            patience=patience,
            on_progress=on_progress,
        )

    def versions(
        self,
        name: str = "",
        *,
        filter: str = "",  # noqa: A002
        order_by: str = "",
        page_size: int = 0,
    ) -> AsyncIterator[ModelVersion]:
        """Yields the versions of a model, the greatest number first; without a name, of all.

        Args:
            name: the model; empty: every one, the newest version first.
            filter: such as `stage = Production AND metrics.accuracy >= 0.9`.
            order_by: `create_time`, `update_time` or, of one model, `number`, and ` desc`.
            page_size: versions a page: at most 1000; 0: 50.

        Raises:
            NotFound: there is no such model.
            InvalidArgument: the filter or the order cannot be read.
        """
        parent = model_name(name) if name else _EVERY_MODEL
        return self._calls.list_model_versions(
            parent, filter=filter, order_by=order_by, page_size=page_size
        )

    async def describe(
        self, name: str, description: str, *, etag: str = "", request_id: str = ""
    ) -> ModelVersion:
        """Replaces the description of a version.

        Raises:
            NotFound: there is none of that name.
            Aborted: reason ETAG_MISMATCH: its etag is not `etag` any more.
        """
        full = await self._version(name)
        version = ModelVersion(name=full, etag=etag, description=description)
        return await self._calls.update_model_version(
            version, ["description"], request_id=request_id
        )

    async def set_stage(
        self,
        name: str,
        stage: str,
        *,
        archive_existing: bool = False,
        message: str = "",
        etag: str = "",
        request_id: str = "",
    ) -> ModelVersion:
        """Moves a version to a stage: None, Staging, Production, Archived, or any other word.

        Args:
            name: the version.
            stage: the stage.
            archive_existing: move the model's other versions in that stage to Archived.
            message: why, for the history.
            etag: that the version must still have.
            request_id: makes a repeat harmless.

        Raises:
            NotFound: there is no such version.
            Aborted: reason ETAG_MISMATCH.
        """
        return await self._calls.set_model_version_stage(
            await self._version(name),
            stage,
            archive_existing=archive_existing,
            message=message,
            etag=etag,
            request_id=request_id,
        )

    async def _version(self, name: str) -> str:
        """The resource name of a version, also of one that an alias refers to now."""
        full = version_name(name)
        return (await self._calls.get_model_version(full)).name if is_alias(full) else full
