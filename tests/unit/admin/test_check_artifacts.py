"""`check` finds every broken invariant of artifacts, and nothing in a sound folder."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from subgrpc import names
from subgrpc.admin.check import check
from subgrpc.metastore import Metastore, Transaction, artifacts, blobs
from subgrpc.metastore.blobs import Sealed
from subgrpc.services.artifacts.changes import Wanted
from subgrpc.services.artifacts.making import Making
from subgrpc.services.requests import Once
from subgrpc.v1.artifact_service_pb2 import Artifact, ArtifactFile

from .test_check import codes, spoil

BLOBS = [b"one", b"three", b"seven"]


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


async def make(folder: Path) -> None:
    """An artifact that is complete and needed, and one that is not."""
    store = await Metastore.open(folder)

    def keep(tx: Transaction) -> None:
        for data in BLOBS:
            uid = names.new_uid()
            blobs.reserve(tx, uid, sha(data), len(data))
            blobs.publish(tx, uid, [Sealed(sha(data), 0, len(data))])

    await store.write_ordered(keep)
    files = [
        ArtifactFile(path=f"f{number}", size_bytes=len(data), sha256=sha(data).hex())
        for number, data in enumerate(BLOBS)
    ]
    making = Making(store)
    once: Once[Artifact] = Once("ann", "", "", b"", artifacts.by_uid)
    wanted = Wanted("default", "ann", "ready", labels={"a": "b"})
    link = ArtifactFile(path="link", link_target="f0")
    made = await making.create(wanted, [*files, link], once, ready=True)
    assert made is not None
    await store.write_ordered(lambda tx: artifacts.refer(tx, made.name, "teams/default/models/m"))
    await making.create(Wanted("default", "ann", "open"), files[:1], once, ready=False)
    await store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    asyncio.run(make(tmp_path))
    return tmp_path


def test_sound_artifacts_have_no_problem(folder: Path) -> None:
    """They are counted."""
    report = check(folder)
    assert report.problems == []
    assert report.artifacts == 2


READY = "(SELECT uid FROM artifact WHERE artifact_id = 'ready')"


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("DELETE FROM artifact WHERE artifact_id = 'ready'", "ORPHAN_ROWS"),
        ("INSERT INTO artifact_label VALUES ('nobody', 'k', 'v', 'default', 1)", "ORPHAN_ROWS"),
        ("INSERT INTO artifact_reference VALUES ('nobody', 'r')", "ORPHAN_ROWS"),
        ("UPDATE OR REPLACE artifact_object SET artifact_uid = 'log/nobody/1'", "ORPHAN_ROWS"),
        ("DELETE FROM object WHERE users = 1", "ORPHAN_ROWS"),
        ("DELETE FROM object WHERE users = 1", "BLOB_MISSING"),
        ("DELETE FROM blob WHERE size = 3", "BLOB_MISSING"),
        ("UPDATE blob SET size = 5", "BLOB_MISSING"),
        ("UPDATE object SET ready = 0", "BLOB_MISSING"),
        (f"DELETE FROM artifact_object WHERE artifact_uid = {READY}", "BLOB_MISSING"),
        (f"DELETE FROM artifact_object WHERE artifact_uid = {READY}", "OBJECT"),
        ("UPDATE object SET users = 3", "OBJECT"),
        ("UPDATE object SET condemned_time = 1", "OBJECT"),
        ("DELETE FROM artifact_files", "FILES"),
        ("UPDATE artifact_files SET body = x'ff'", "BODY"),
        ("UPDATE artifact_files SET body = x''", "COLUMN"),
        ("UPDATE artifact_files SET first_path = 'x'", "COLUMN"),
        ("UPDATE artifact SET body = x'ff'", "BODY"),
        ("UPDATE artifact SET digest = 'x'", "COLUMN"),
        ("UPDATE artifact SET update_time = 1", "COLUMN"),
        ("DELETE FROM artifact_label", "LABELS"),
        (
            "UPDATE artifact_reference SET artifact_uid = "
            "(SELECT uid FROM artifact WHERE artifact_id = 'open')",
            "REFERENCE",
        ),
        (
            "INSERT INTO artifact_files SELECT artifact_uid, number + 1, first_path, file_count, "
            "body FROM artifact_files",
            "FILES",
        ),
    ],
)
def test_each_broken_invariant_is_found(folder: Path, statement: str, code: str) -> None:
    """With its code, whatever else it breaks."""
    spoil(folder, statement)
    assert code in codes(folder)
