"""Versions of models: registered, read, changed, moved to stages, deleted."""

from __future__ import annotations

from typing import Final

from subgrpc import names
from subgrpc.errors import FailedPrecondition, FieldViolation, InvalidArgument
from subgrpc.filters import VERSION_FIELDS, OrderBy, parse_filter, parse_order, stage_name
from subgrpc.metastore import Metastore, Transaction, models
from subgrpc.metastore.model_history import History
from subgrpc.names import AliasName, ModelName, VersionName
from subgrpc.services import wire
from subgrpc.services.experiment_changes import known_team, timestamp
from subgrpc.services.model_changes import (
    ARCHIVED,
    LATEST,
    NO_STAGE,
    change_tags,
    load_model,
    load_version,
    masked,
    missing_alias,
    missing_model,
    missing_version,
    response,
    set_stage,
)
from subgrpc.services.model_registration import Registration
from subgrpc.services.model_removal import drop_version, references
from subgrpc.services.pages import Pager, page_size
from subgrpc.services.requests import Once
from subgrpc.tokens import TokenCodec
from subgrpc.v1 import model_registry_service_pb2 as api
from subgrpc.v1.model_registry_service_pb2 import ModelEvent, ModelVersion

_CHANGEABLE: Final = ("description", "tags")
_EVERY_MODEL: Final = "-"
_ORDERS: Final = ("create_time", "update_time")
_NEWEST_FIRST: Final = OrderBy()
_BY_NUMBER: Final = OrderBy("number")


class ModelVersions:
    """The use cases of ModelRegistryService that concern a version."""

    def __init__(self, store: Metastore, tokens: TokenCodec) -> None:
        self._store = store
        self._tokens = tokens

    async def create(self, request: api.CreateModelVersionRequest, principal: str) -> bytes:
        """Makes an artifact the next version of a model."""
        registration = Registration.of(request, principal)
        once = Once.of(principal, request, _find)
        done = await once.write(self._store, registration.register)
        if done is None:  # A repeat, and the version is gone since.
            text = f"the version of {request.parent} that this request made was deleted"
            raise FailedPrecondition(
                text, reason="MODEL_VERSION_DELETED", metadata={"subject": request.parent}
            )
        return response(done)

    async def get(self, request: api.GetModelVersionRequest) -> bytes:
        """Returns a version as it is stored, unparsed."""
        reads = self._store.models
        if "/aliases/" in request.name:
            alias = names.parse_alias(request.name)
            latest = alias.alias == LATEST
            stored = await (reads.latest(alias.of) if latest else reads.version_of_alias(alias))
            return wire.length_delimited(1, stored or await self._no_alias(alias))
        name = names.parse_version(request.name)
        stored = await reads.version(name)
        return wire.length_delimited(1, stored or await self._no_version(name))

    async def list(self, request: api.ListModelVersionsRequest) -> bytes:
        """Returns one page of the versions of a model, or of all."""
        parent, _, model = request.parent.rpartition("/models/")
        team = known_team(parent)
        every = model == _EVERY_MODEL
        chosen = parse_filter(request.filter, VERSION_FIELDS)
        orders, default = (_ORDERS, _NEWEST_FIRST) if every else (("number", *_ORDERS), _BY_NUMBER)
        order = parse_order(request.order_by, orders, default)
        text = chosen.text if chosen is not None else ""
        pager = Pager(self._tokens, "model versions", team, model, text, order.text)
        page = await self._store.models.versions(
            team,
            None if every else model,
            filter=chosen,
            order=order,
            after=pager.start(request.page_token),
            limit=page_size(request.page_size),
        )
        if not (page.items or every):
            await self._require(ModelName(team, model))
        return pager.response(page)

    async def update(self, request: api.UpdateModelVersionRequest, principal: str) -> bytes:
        """Changes description and tags, as far as the mask says."""
        wanted = request.model_version
        name = names.parse_version(wanted.name, "model_version.name")
        fields = masked(request.update_mask.paths, _CHANGEABLE)

        def change(tx: Transaction) -> ModelVersion:
            kept = load_version(tx, name, wanted.etag)
            version = kept.message
            history = History(tx, load_model(tx, name.of).message.uid, principal)
            if "description" in fields and version.description != wanted.description:
                version.description = wanted.description
                history.add(ModelEvent(type="Updated", version=name.number))
            for event in change_tags(version, wanted.tags, fields):
                history.add(event)
            models.save_version(tx, kept)
            return version

        done = await Once.of(principal, request, _find).write(self._store, change)
        return _changed(done, name)

    async def set_stage(self, request: api.SetModelVersionStageRequest, principal: str) -> bytes:
        """Moves a version to a stage, and others out of it if that is asked for."""
        name = names.parse_version(request.name)
        stage = stage_name(request.stage)
        if request.archive_existing and stage in (NO_STAGE, ARCHIVED):
            text = f"versions cannot be archived for one that goes to {stage}"
            raise InvalidArgument(
                violations=[FieldViolation("archive_existing", text, "INVALID_VALUE")]
            )

        def change(tx: Transaction) -> ModelVersion:
            kept = load_version(tx, name, request.etag)
            history = History(tx, load_model(tx, name.of).message.uid, principal, request.message)
            now = timestamp(tx.now)
            if request.archive_existing:
                for other in models.versions_in_stage(tx, name.of, stage):
                    if other.message.number != name.number:
                        history.add(set_stage(other.message, ARCHIVED, now))
                        models.save_version(tx, other)
            if kept.message.stage != stage:
                history.add(set_stage(kept.message, stage, now))
                models.save_version(tx, kept)
            return kept.message

        done = await Once.of(principal, request, _find).write(self._store, change)
        return _changed(done, name)

    async def delete(self, request: api.DeleteModelVersionRequest, principal: str) -> bytes:
        """Removes a version; its artifact stays."""
        name = names.parse_version(request.name)

        def change(tx: Transaction) -> ModelVersion | None:
            kept = models.version_by_name(tx, name)
            if kept is None and request.allow_missing:
                return None
            model = load_model(tx, name.of)
            kept = load_version(tx, name, request.etag)
            if (found := references(kept.message)) and not request.force:
                raise _in_use(name, found)
            last = ModelVersion.FromString(kept.body)
            history = History(tx, model.message.uid, principal, request.message)
            drop_version(tx, model.message, kept, history)
            model.message.latest_version = models.latest_number(tx, name.of)
            models.save_model(tx, model)
            return last

        done = await Once.of(principal, request, _find).write(self._store, change)
        return b"" if done is None else response(done)

    async def _no_version(self, name: VersionName) -> bytes:
        await self._require(name.of)
        raise missing_version(name)

    async def _no_alias(self, name: AliasName) -> bytes:
        await self._require(name.of)
        raise missing_alias(name)

    async def _require(self, name: ModelName) -> None:
        """Raises NotFound, reason MODEL_NOT_FOUND."""
        if await self._store.models.get(name) is None:
            raise missing_model(name)


def _find(tx: Transaction, uid: str) -> ModelVersion | None:
    kept = models.version_by_uid(tx, uid)
    return None if kept is None else kept.message


def _changed(version: ModelVersion | None, name: VersionName) -> bytes:
    """The answer to a mutation; None: it is a repeat, and the version is gone since."""
    if version is None:
        raise missing_version(name)
    return response(version)


def _in_use(name: VersionName, found: list[str]) -> FailedPrecondition:
    listed = ", ".join(found)
    return FailedPrecondition(
        f"{name} is in use ({listed}): change that first, or delete it with force",
        reason="MODEL_VERSION_IN_USE",
        metadata={"subject": str(name), "references": listed},
    )
