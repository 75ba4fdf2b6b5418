"""Artifacts of a server whose store is on S3, as its users push and pull them."""

from __future__ import annotations

import filecmp
import os
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli, own
from tests.integration.s3.servers import Bucket, Detour

__all__ = ["own"]
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of many sizes."""
    made = tmp_path / "pushed"
    for n, size in enumerate((0, 1, 1000, 70_000, 3 << 20, 40 << 20)):
        path = made / f"level-{n % 3}" / f"file-{n}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    for n in range(50):
        (made / f"small-{n}").write_bytes(os.urandom(500))
    return made


@pytest.fixture
def lake(own: Cli, detour: Detour, bucket: Bucket, prefix: str) -> Cli:
    """The command, and a server that keeps artifacts on S3 at the end of the detour."""
    options = ("addressing=path", f"endpoint_url={detour.url}", "connect_timeout=1", "timeout=2")
    words = [word for option in options for word in ("--artifact-option", option)]
    own.up("--artifacts", f"s3://{bucket.name}/{prefix}", *words)
    return own


def files(folder: Path) -> list[str]:
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


def equal(one: Path, other: Path) -> bool:
    names = files(one)
    same, _, _ = filecmp.cmpfiles(one, other, names, shallow=False)
    return names == files(other) == sorted(same)


@pytest.mark.parametrize("how", [(), ("--no-direct",)], ids=["direct", "through the server"])
def test_artifacts(lake: Cli, folder: Path, bucket: Bucket, prefix: str, how: list[str]) -> None:
    """What is pulled is what was pushed, directly or through the server; it lies in the bucket."""
    lake("artifact", "push", str(folder), "--name", "things", *how, code=0)
    pages = bucket.client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket.name, Prefix=f"{prefix}/objects/"
    )
    kept = sum(each["Size"] for page in pages for each in page.get("Contents", ()))
    assert kept >= sum((folder / each).stat().st_size for each in files(folder))
    target = folder.parent / "pulled"
    lake("artifact", "pull", "things", str(target), *how, code=0)
    assert equal(folder, target)
    lake("artifact", "verify", "things", code=0)


def test_an_outage_of_the_store(lake: Cli, folder: Path, detour: Detour) -> None:
    """A push that was cut off goes on when the store is back; nobody starts the server again."""
    small = folder / "level-2"
    lake("artifact", "push", str(small), "--name", "before", code=0)
    detour.enable(False)
    pushing = lake.start("artifact", "push", str(folder), "--name", "things", "--no-direct")
    with pytest.raises(Exception, match="timed out"):
        pushing.communicate(timeout=4)
    detour.enable(True)
    _, told = pushing.communicate(timeout=120)
    assert pushing.returncode == 0, told.decode()
    target = folder.parent / "pulled"
    lake("artifact", "pull", "things", str(target), code=0)
    assert equal(folder, target)
