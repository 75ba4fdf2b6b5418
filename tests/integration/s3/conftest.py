"""Stores on the S3 server of the testbed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.postgres.conftest import Toxiproxy, toxiproxy
from tests.integration.s3.servers import Bucket, Detour, Users

__all__ = ["toxiproxy"]


@pytest.fixture(scope="session")
def bucket() -> Bucket:
    url = os.environ.get("S3_ENDPOINT_URL")
    if url is None:
        pytest.skip("no S3 server: tests/integration/s3/run starts one")
    return Bucket(url, os.environ["S3_BUCKET"])


@pytest.fixture
def prefix(bucket: Bucket) -> Iterator[str]:
    """What the names of a test's objects begin with; there are none yet."""
    made = bucket.prefix()
    yield made
    bucket.clear(made)


@pytest.fixture
def detour(toxiproxy: Toxiproxy, bucket: Bucket) -> Detour:
    return Detour(toxiproxy, bucket.url)


@pytest.fixture
def users(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Users:
    """Further users of the server, each as a profile of AWS's configuration."""
    path = tmp_path / "credentials"
    path.touch()
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    return Users(bucket, path)
