"""Aliases of models: set, removed, rolled back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from subgrpc import names
from subgrpc.metastore import Metastore, Transaction, models
from subgrpc.metastore.model_history import History
from subgrpc.metastore.models import Target
from subgrpc.names import AliasName, VersionName
from subgrpc.services import model_pointing
from subgrpc.services.experiment_changes import timestamp
from subgrpc.services.model_changes import (
    alias_message,
    check_alias,
    load_model,
    load_version,
    missing_alias,
    response,
)
from subgrpc.services.requests import Find, Once
from subgrpc.v1 import model_registry_service_pb2 as api
from subgrpc.v1.model_registry_service_pb2 import Model, ModelAlias


@dataclass(slots=True)
class _Changed:
    """An alias; it is found again by the uid of its model."""

    uid: str
    alias: ModelAlias


class ModelAliases:
    """The use cases of ModelRegistryService that concern an alias."""

    def __init__(self, store: Metastore) -> None:
        self._store = store

    async def set(self, request: api.SetModelAliasRequest, principal: str) -> bytes:
        """Has an alias refer to a version."""
        name = names.parse_alias(request.name)
        check_alias(name.alias, "name")

        def change(tx: Transaction) -> _Changed:
            model = load_model(tx, name.of, request.etag)
            version = load_version(tx, VersionName(*name.of, request.number))
            history = History(tx, model.message.uid, principal, request.message)
            model_pointing.point(tx, model.message, version.message, name.alias, history)
            models.save_version(tx, version)
            models.save_model(tx, model)
            return _as_it_is(tx, model.message, name)

        return await self._write(request, principal, name, change)

    async def delete(self, request: api.DeleteModelAliasRequest, principal: str) -> bytes:
        """Removes an alias."""
        name = names.parse_alias(request.name)

        def change(tx: Transaction) -> _Changed | None:
            target = models.alias_target(tx, name.of, name.alias)
            if target is None and request.allow_missing:
                return None
            model = load_model(tx, name.of, request.etag)
            last = _as_it_is(tx, model.message, name)
            version = load_version(tx, VersionName(*name.of, last.alias.number))
            history = History(tx, model.message.uid, principal, request.message)
            model_pointing.remove(tx, model.message, version.message, name.alias, history)
            models.save_version(tx, version)
            models.save_model(tx, model)
            return last

        done = await Once.of(principal, request, _finder(name)).write(self._store, change)
        return b"" if done is None else response(done.alias)

    async def rollback(self, request: api.RollbackModelAliasRequest, principal: str) -> bytes:
        """Has an alias refer to what it did before it was last set."""
        name = names.parse_alias(request.name)

        def change(tx: Transaction) -> _Changed:
            model = load_model(tx, name.of, request.etag)
            target = _target(tx, name)
            history = History(tx, model.message.uid, principal, request.message)
            model_pointing.roll_back(tx, model.message, name, target, history)
            models.save_model(tx, model)
            return _as_it_is(tx, model.message, name)

        return await self._write(request, principal, name, change)

    async def _write(
        self,
        request: Any,
        principal: str,
        name: AliasName,
        change: Callable[[Transaction], _Changed],
    ) -> bytes:
        done = await Once.of(principal, request, _finder(name)).write(self._store, change)
        if done is None:  # A repeat, and the alias is gone since.
            raise missing_alias(name)
        return response(done.alias)


def _target(tx: Transaction, name: AliasName) -> Target:
    target = models.alias_target(tx, name.of, name.alias)
    if target is None:
        raise missing_alias(name)
    return target


def _as_it_is(tx: Transaction, model: Model, name: AliasName) -> _Changed:
    target = _target(tx, name)
    return _Changed(model.uid, alias_message(name, target.number, timestamp(target.time)))


def _finder(name: AliasName) -> Find[_Changed]:
    def find(tx: Transaction, uid: str) -> _Changed | None:
        model = models.model_by_uid(tx, uid)
        if model is None or name.alias not in model.message.aliases:
            return None
        return _as_it_is(tx, model.message, name)

    return find
