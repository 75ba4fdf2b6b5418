"""What goes with a version: its aliases, its hold on its artifact, its place in the model."""

from __future__ import annotations

from typing import Final

from subgrpc import names
from subgrpc.metastore import Transaction, artifacts, models
from subgrpc.metastore.model_history import History
from subgrpc.metastore.models import Kept
from subgrpc.services import model_pointing
from subgrpc.services.model_changes import PRODUCTION
from subgrpc.v1.model_registry_service_pb2 import Model, ModelEvent, ModelVersion

BATCH: Final = 500
"""Versions that one write removes."""


def references(version: ModelVersion) -> list[str]:
    """What speaks against deleting a version, in words."""
    found = [f"alias {alias}" for alias in version.aliases]
    return [*found, f"stage {PRODUCTION}"] if version.stage == PRODUCTION else found


def drop_versions(tx: Transaction, model: Kept[Model], history: History, limit: int) -> None:
    """Removes the first versions of a model; the caller saves or removes the model."""
    name = names.parse_model(model.message.name)
    for version in models.some_versions(tx, name, limit):
        drop_version(tx, model.message, version, history)
    model.message.latest_version = models.latest_number(tx, name)


def drop_version(
    tx: Transaction, model: Model, version: Kept[ModelVersion], history: History
) -> None:
    """Removes a version; the caller sets `latest_version`, and saves or removes the model."""
    it = version.message
    for alias in list(it.aliases):
        model_pointing.remove(tx, model, it, alias, history)
    event = ModelEvent(type="VersionDeleted", version=it.number, from_value=it.artifact)
    history.add(event)
    artifacts.release(tx, it.name)
    models.delete_version(tx, version)
    model.version_count -= 1
