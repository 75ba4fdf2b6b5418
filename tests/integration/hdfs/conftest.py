"""Stores on the HDFS of the testbed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from subgrpc.testing.stores import Sources
from subgrpc_storage.hdfs import HdfsStore
from tests.integration.hdfs.cluster import Detour, Hdfs, settings
from tests.integration.postgres.conftest import Toxiproxy, toxiproxy

__all__ = ["toxiproxy"]


@pytest.fixture(scope="session")
def hdfs() -> Hdfs:
    url = os.environ.get("HDFS_WEBHDFS_URL")
    if url is None:
        pytest.skip("no HDFS: tests/integration/hdfs/run starts one")
    return Hdfs(url)


@pytest.fixture
def folder(hdfs: Hdfs) -> Iterator[str]:
    """An empty folder of the store's user."""
    made = hdfs.folder()
    yield made
    hdfs.remove(made)


@pytest.fixture
def detour(toxiproxy: Toxiproxy, hdfs: Hdfs) -> Iterator[Detour]:
    made = Detour(toxiproxy, hdfs)
    yield made
    made.close()


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """Makes files that are to be put."""
    return Sources(tmp_path)


@pytest.fixture
def direct(hdfs: Hdfs, folder: str) -> Iterator[HdfsStore]:
    """A store without anything in between."""
    made = HdfsStore.from_settings(settings(hdfs.namenode, folder))
    yield made
    made.close()


@pytest.fixture
def distant(detour: Detour, folder: str) -> Iterator[HdfsStore]:
    """A store at the end of the detour."""
    made = HdfsStore.from_settings(settings(detour.address, folder))
    yield made
    made.close()
