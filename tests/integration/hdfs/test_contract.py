"""The store on HDFS keeps every promise that all stores make."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from subgrpc.artifacts import StoreSettings
from subgrpc.testing.stores import ArtifactStoreContract
from tests.integration.hdfs.cluster import Detour, Hdfs, settings

pytestmark = pytest.mark.timeout(300)


class TestHdfsStore(ArtifactStoreContract):
    part_size = 1 << 20  # it has no parts

    @pytest.fixture(autouse=True)
    def _place(self, hdfs: Hdfs, detour: Detour) -> None:
        self.hdfs = hdfs
        self.detour = detour

    @pytest.fixture
    def settings(self, detour: Detour, folder: str) -> StoreSettings:
        return settings(detour.address, folder)

    @contextmanager
    def outage(self) -> Iterator[None]:
        self.detour.enable(False)
        yield
        self.detour.enable(True)

    def denied(self, settings: StoreSettings) -> StoreSettings:
        return dataclasses.replace(settings, options={**settings.options, "user": "stranger"})

    def missing(self, settings: StoreSettings) -> StoreSettings:
        return dataclasses.replace(settings, url=f"{settings.url}/missing")

    @contextmanager
    def full(self, settings: StoreSettings) -> Iterator[StoreSettings]:
        self.hdfs.quota(urlsplit(settings.url).path, space=8 << 20)
        yield settings

    def leftovers(self, settings: StoreSettings) -> Sequence[str]:
        return self.hdfs.names(f"{urlsplit(settings.url).path}/.incoming")
