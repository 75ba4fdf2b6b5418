"""`check` finds every broken invariant of the registry, and nothing in a sound one."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from pathlib import Path

import pytest

from subgrpc import names
from subgrpc.admin.check import check
from subgrpc.metastore import Metastore, Transaction, artifacts
from subgrpc.services.model_aliases import ModelAliases
from subgrpc.services.model_versions import ModelVersions
from subgrpc.tokens import TokenCodec
from subgrpc.v1 import model_registry_service_pb2 as api
from subgrpc.v1.artifact_service_pb2 import ARTIFACT_STATE_READY, Artifact

from .test_check import codes, spoil

MODEL = "teams/default/models/digits"


async def fill(folder: Path) -> None:
    """A model with versions 1 and 3 (2 was deleted), tags, metrics, and a moved alias."""
    store = await Metastore.open(folder)
    versions = ModelVersions(store, TokenCodec(store.identity.token_key, "h"))
    aliases = ModelAliases(store)
    artifact = Artifact(name="teams/default/artifacts/a", uid=names.new_uid())
    artifact.state, artifact.digest = ARTIFACT_STATE_READY, hashlib.sha256().hexdigest()

    def insert(tx: Transaction) -> None:
        artifacts.insert(tx, artifact)

    await store.write_ordered(insert)
    wanted = api.ModelVersion(artifact=artifact.name, tags={"k": "v"}, metrics={"m": 0.5})
    for _ in range(3):
        await versions.create(
            api.CreateModelVersionRequest(parent=MODEL, model_version=wanted, create_model=True),
            "ann",
        )
    for number in (2, 1, 3):
        alias = f"{MODEL}/aliases/champion"
        await aliases.set(api.SetModelAliasRequest(name=alias, number=number), "ann")
    gone = api.DeleteModelVersionRequest(name=f"{MODEL}/versions/2")
    await versions.delete(gone, "ann")
    await store.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "data"
    asyncio.run(fill(made))
    return made


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(filled, tmp_path / "data")


def test_a_sound_registry_has_no_problem(folder: Path) -> None:
    report = check(folder)
    assert report.problems == []
    assert (report.models, report.versions) == (1, 2)


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE model SET creator = 'eve'", "COLUMN"),
        ("UPDATE model SET latest_version = 2", "COLUMN"),
        ("UPDATE model SET revision = 1", "COLUMN"),
        ("UPDATE model_version SET stage = 'Production' WHERE number = 1", "COLUMN"),
        ("UPDATE model_version SET artifact = 'x'", "COLUMN"),
        ("UPDATE model SET body = x'ff'", "BODY"),
        ("UPDATE model_version SET body = x'ff' WHERE number = 3", "BODY"),
        ("INSERT INTO model_tag SELECT uid, 'k', 'v', 'default', 1 FROM model", "LABELS"),
        ("DELETE FROM model_version_tag", "LABELS"),
        ("UPDATE model_version_metric SET value = 0.25", "LABELS"),
        ("DELETE FROM model_version WHERE number = 1", "VERSIONS"),
        ("DELETE FROM model_version WHERE number = 3", "VERSIONS"),
        ("UPDATE model SET last_version = 2", "VERSIONS"),
        ("DELETE FROM model_alias", "ALIAS"),
        ("UPDATE model_alias SET number = 1", "ALIAS"),
        ("UPDATE model_alias SET sequence = 5", "ALIAS"),
        ("UPDATE model_alias SET create_time = 5", "ALIAS"),
        ("UPDATE model_event SET below = 99", "ALIAS"),
        ("DELETE FROM model_event WHERE sequence = 2", "EVENT_HOLE"),
        ("DELETE FROM model_event", "EVENT_HOLE"),
        ("DELETE FROM artifact_reference", "ARTIFACT_REFERENCE"),
        ("DELETE FROM artifact", "ARTIFACT_REFERENCE"),
        ("DELETE FROM model", "ORPHAN_ROWS"),
        ("DELETE FROM model_version", "ORPHAN_ROWS"),
        ("UPDATE change SET after = x'00'", "CHANGE"),
    ],
)
def test_each_broken_invariant_is_found(folder: Path, statement: str, code: str) -> None:
    """With its code, whatever else it breaks."""
    spoil(folder, statement)
    assert code in codes(folder)
