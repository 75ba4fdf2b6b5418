"""Models: created, read, changed, deleted; their history."""

from __future__ import annotations

from typing import Final

from subgrpc import names
from subgrpc.errors import FailedPrecondition
from subgrpc.filters import EVENT_FIELDS, MODEL_FIELDS, OrderBy, parse_filter, parse_order
from subgrpc.metastore import Metastore, Transaction, models
from subgrpc.metastore.model_history import History
from subgrpc.names import ModelName
from subgrpc.services import wire
from subgrpc.services.experiment_changes import known_team
from subgrpc.services.model_changes import (
    change_tags,
    load_model,
    masked,
    missing_model,
    response,
)
from subgrpc.services.model_removal import BATCH, drop_versions
from subgrpc.services.pages import Pager, page_size
from subgrpc.services.requests import Once
from subgrpc.tokens import TokenCodec
from subgrpc.v1 import model_registry_service_pb2 as api
from subgrpc.v1.model_registry_service_pb2 import Model, ModelEvent

_CHANGEABLE: Final = ("display_name", "description", "tags")
_ORDERS: Final = ("create_time", "update_time", "model_id")
_OLDEST_FIRST: Final = OrderBy("sequence", descending=False)


class Models:
    """The use cases of ModelRegistryService that concern a model as a whole."""

    def __init__(self, store: Metastore, tokens: TokenCodec) -> None:
        self._store = store
        self._tokens = tokens

    async def create(self, request: api.CreateModelRequest, principal: str) -> bytes:
        """Stores a new model."""
        name = ModelName(known_team(request.parent), request.model_id)
        model = new_model(name, request.model, principal)

        def insert(tx: Transaction) -> Model:
            models.insert_model(tx, model)
            History(tx, model.uid, principal).add(ModelEvent(type="Created"))
            return model

        done = await Once.of(principal, request, find_model).write(self._store, insert)
        return _changed(done, name)

    async def get(self, request: api.GetModelRequest) -> bytes:
        """Returns a model as it is stored, unparsed."""
        name = names.parse_model(request.name)
        stored = await self._store.models.get(name)
        if stored is None:
            raise missing_model(name)
        return wire.length_delimited(1, stored)

    async def list(self, request: api.ListModelsRequest) -> bytes:
        """Returns one page of a team's models."""
        team = known_team(request.parent)
        chosen = parse_filter(request.filter, MODEL_FIELDS)
        order = parse_order(request.order_by, _ORDERS)
        text = chosen.text if chosen is not None else ""
        pager = Pager(self._tokens, "models", team, text, order.text)
        page = await self._store.models.page(
            team,
            filter=chosen,
            order=order,
            after=pager.start(request.page_token),
            limit=page_size(request.page_size),
        )
        return pager.response(page)

    async def update(self, request: api.UpdateModelRequest, principal: str) -> bytes:
        """Changes display name, description and tags, as far as the mask says."""
        wanted = request.model
        name = names.parse_model(wanted.name, "model.name")
        fields = masked(request.update_mask.paths, _CHANGEABLE)

        def change(tx: Transaction) -> Model:
            kept = load_model(tx, name, wanted.etag)
            model = kept.message
            before = (model.display_name, model.description)
            if "display_name" in fields:
                model.display_name = wanted.display_name
            if "description" in fields:
                model.description = wanted.description
            history = History(tx, model.uid, principal)
            if before != (model.display_name, model.description):
                history.add(ModelEvent(type="Updated"))
            for event in change_tags(model, wanted.tags, fields):
                history.add(event)
            models.save_model(tx, kept)
            return model

        done = await Once.of(principal, request, find_model).write(self._store, change)
        return _changed(done, name)

    async def delete(self, request: api.DeleteModelRequest, principal: str) -> bytes:
        """Removes a model, with `force` after its versions."""
        name = names.parse_model(request.name)
        once = Once.of(principal, request, find_model)
        etag = request.etag

        def thin_out(tx: Transaction) -> bool:
            """Removes some versions of many; returns whether there are still many."""
            if once.is_done(tx):
                return False
            kept = models.model_by_name(tx, name)
            if kept is None or kept.message.version_count <= BATCH:
                return False
            load_model(tx, name, etag)
            drop_versions(tx, kept, History(tx, kept.message.uid, principal), BATCH)
            models.save_model(tx, kept)
            return True

        def change(tx: Transaction) -> Model | None:
            kept = models.model_by_name(tx, name)
            if kept is None and request.allow_missing:
                return None
            kept = load_model(tx, name, etag)
            model = kept.message
            if model.version_count and not request.force:
                text = f"{name} has {model.version_count} versions: delete it with force"
                raise FailedPrecondition(
                    text, reason="MODEL_HAS_VERSIONS", metadata={"subject": str(name)}
                )
            last = Model.FromString(kept.body)
            # All that there are: some may have come since they were thinned out.
            drop_versions(tx, kept, History(tx, model.uid, principal), model.version_count)
            models.delete_model(tx, kept)
            return last

        while request.force and await self._store.write(thin_out):
            etag = ""  # It is another by now, but by this call.
        done = await once.write(self._store, change)
        return b"" if done is None else response(done)

    async def history(self, request: api.ListModelHistoryRequest) -> bytes:
        """Returns one page of a model's history."""
        name = names.parse_model(request.parent, "parent")
        stored = await self._store.models.get(name)
        if stored is None:
            raise missing_model(name)
        uid = Model.FromString(stored).uid
        chosen = parse_filter(request.filter, EVENT_FIELDS)
        order = parse_order(request.order_by, ("sequence",), _OLDEST_FIRST)
        text = chosen.text if chosen is not None else ""
        pager = Pager(self._tokens, "model history", uid, text, order.text)
        page = await self._store.models.history(
            uid,
            filter=chosen,
            order=order,
            after=pager.start(request.page_token),
            limit=page_size(request.page_size),
        )
        return pager.response(page)


def new_model(name: ModelName, wanted: Model, principal: str) -> Model:
    """What a valid request creates."""
    return Model(
        name=str(name),
        uid=names.new_uid(),
        display_name=wanted.display_name,
        description=wanted.description,
        tags=wanted.tags,
        creator=principal,
    )


def find_model(tx: Transaction, uid: str) -> Model | None:
    """A model as it is now; None: it is gone."""
    kept = models.model_by_uid(tx, uid)
    return None if kept is None else kept.message


def _changed(model: Model | None, name: ModelName) -> bytes:
    """The answer to a mutation; None: it is a repeat, and the model is gone since."""
    if model is None:
        raise missing_model(name)
    return response(model)
