"""The store on S3 keeps every promise that all stores make."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from subgrpc.artifacts import StoreSettings
from subgrpc.testing.stores import ArtifactStoreContract
from tests.integration.s3.servers import Bucket, Detour, Users, server

pytestmark = pytest.mark.timeout(300)


class TestS3Store(ArtifactStoreContract):
    @pytest.fixture(autouse=True)
    def _place(self, bucket: Bucket, detour: Detour, users: Users, tmp_path: Path) -> None:
        self.bucket, self.detour, self.users, self.folder = bucket, detour, users, tmp_path

    @pytest.fixture
    def settings(self, bucket: Bucket, detour: Detour, prefix: str) -> StoreSettings:
        return bucket.settings(prefix, detour.url)

    @contextmanager
    def outage(self) -> Iterator[None]:
        self.detour.enable(False)
        yield
        self.detour.enable(True)

    def denied(self, settings: StoreSettings) -> StoreSettings:
        """Somebody whom the server knows, and who may do nothing."""
        return dataclasses.replace(
            settings, options={**settings.options, "profile": self.users.add()}
        )

    def missing(self, settings: StoreSettings) -> StoreSettings:
        return dataclasses.replace(settings, url="s3://no-such-bucket/prefix")

    @contextmanager
    def full(self, settings: StoreSettings) -> Iterator[StoreSettings]:
        """A server of its own, on a disk of a few megabytes."""
        disk = self.folder / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"file systems cannot be mounted here: {done.stderr.strip()}")
        try:
            (disk / self.bucket.name).mkdir()
            with server(disk, self.folder / "log") as url:
                yield Bucket(url, self.bucket.name).settings("prefix")
        finally:
            subprocess.run(["umount", disk], check=True)

    def leftovers(self, settings: StoreSettings) -> Sequence[str]:
        found = self.bucket.uploads(urlsplit(settings.url).path[1:])
        return [key for key, _ in found]
