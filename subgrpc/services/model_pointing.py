"""What changes with an alias: its target, the history, and the model and versions that show it."""

from __future__ import annotations

from bisect import insort

from subgrpc import names
from subgrpc.errors import FailedPrecondition
from subgrpc.metastore import Transaction, models
from subgrpc.metastore.model_history import History
from subgrpc.metastore.models import Target
from subgrpc.names import AliasName, VersionName
from subgrpc.v1.model_registry_service_pb2 import Model, ModelEvent, ModelVersion


def point(
    tx: Transaction, model: Model, version: ModelVersion, alias: str, history: History
) -> None:
    """Has an alias refer to a version; the caller saves the model and this version.

    Nothing happens if it does so already.
    """
    name = names.parse_model(model.name)
    target = models.alias_target(tx, name, alias)
    if target is not None and target.version_uid == version.uid:
        return
    before = str(target.number) if target else ""
    event = ModelEvent(type="AliasSet", alias=alias, version=version.number, from_value=before)
    event.to_value = str(version.number)
    sequence = history.add(event, below=target.sequence if target else 0)
    if target is not None:
        _take_from(tx, target, alias)
    _give(tx, model, version, alias, sequence)


def remove(
    tx: Transaction, model: Model, version: ModelVersion, alias: str, history: History
) -> None:
    """Removes an alias of a version; the caller saves the model and the version."""
    number = version.number
    event = ModelEvent(type="AliasRemoved", alias=alias, version=number, from_value=str(number))
    history.add(event)
    models.delete_alias(tx, names.parse_model(model.name), alias)
    del model.aliases[alias]
    version.aliases.remove(alias)


def roll_back(
    tx: Transaction, model: Model, name: AliasName, target: Target, history: History
) -> None:
    """Has an alias refer to what it did before it was last set; the caller saves the model.

    Raises:
        FailedPrecondition: NOTHING_TO_ROLL_BACK, ROLLBACK_TARGET_DELETED.
    """
    below = history.below(target.sequence)
    if not below:
        text = f"{name} referred to no other version before version {target.number}"
        raise FailedPrecondition(
            text, reason="NOTHING_TO_ROLL_BACK", metadata={"subject": str(name)}
        )
    number = history.version_of(below)
    version = models.version_by_name(tx, VersionName(*name.of, number))
    if version is None:
        text = f"{name} referred to version {number} before, which was deleted: set it to another"
        raise FailedPrecondition(
            text, reason="ROLLBACK_TARGET_DELETED", metadata={"subject": str(name)}
        )
    event = ModelEvent(type="AliasRolledBack", alias=name.alias, version=number)
    event.from_value, event.to_value = str(target.number), str(number)
    history.add(event)
    _take_from(tx, target, name.alias)
    _give(tx, model, version.message, name.alias, below)
    models.save_version(tx, version)


def _take_from(tx: Transaction, target: Target, alias: str) -> None:
    old = models.version_by_uid(tx, target.version_uid)
    assert old is not None, "an alias refers to a version that is there"
    old.message.aliases.remove(alias)
    models.save_version(tx, old)


def _give(tx: Transaction, model: Model, version: ModelVersion, alias: str, sequence: int) -> None:
    models.put_alias(tx, names.parse_model(model.name), alias, version, sequence)
    model.aliases[alias] = version.number
    aliases = list(version.aliases)
    insort(aliases, alias)
    version.aliases[:] = aliases
