"""The file store keeps every promise that all stores make."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from subgrpc.artifacts import StoreSettings
from subgrpc.artifacts.filestore import folder_of
from subgrpc.testing.stores import ArtifactStoreContract


class TestFileStore(ArtifactStoreContract):
    # It has no parts, no pages and no pools.
    part_size = 1 << 20
    big = (16 << 20) + 1
    memory = 8 << 20
    many = 60

    @pytest.fixture
    def settings(self, tmp_path: Path) -> StoreSettings:
        (tmp_path / "store").mkdir()
        return StoreSettings("disk", (tmp_path / "store").as_uri())

    def missing(self, settings: StoreSettings) -> StoreSettings:
        return StoreSettings(settings.name, f"{settings.url}/missing")

    def leftovers(self, settings: StoreSettings) -> Sequence[str]:
        incoming = folder_of(settings) / ".incoming"
        return os.listdir(incoming) if incoming.exists() else ()

    def denied(self, settings: StoreSettings) -> StoreSettings:
        """The same folder, where nobody may write: mounted read-only."""
        folder = folder_of(settings)
        view = folder.parent / "view"
        view.mkdir()
        self.mount("--bind", folder, view)
        self.mount("-o", "remount,ro,bind", view)
        return StoreSettings(settings.name, view.as_uri())

    @contextmanager
    def full(self, settings: StoreSettings) -> Iterator[StoreSettings]:
        folder = folder_of(settings).parent / "small"
        folder.mkdir()
        self.mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", folder)
        yield StoreSettings(settings.name, folder.as_uri())

    mounted: list[Path]

    @pytest.fixture(autouse=True)
    def mounts(self) -> Iterator[None]:
        self.mounted = []
        yield
        for each in self.mounted:
            subprocess.run(["umount", each], check=True)

    def mount(self, *words: str | Path) -> None:
        done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"file systems cannot be mounted here: {done.stderr.strip()}")
        if words[-1] not in self.mounted:
            self.mounted.append(Path(words[-1]))
