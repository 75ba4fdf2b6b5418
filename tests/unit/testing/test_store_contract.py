"""The contract of artifact stores finds defects: each broken store fails the tests meant for it."""

from __future__ import annotations

import inspect
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from subgrpc.artifacts import ArtifactStore, StoreSettings
from subgrpc.artifacts.filestore import folder_of
from subgrpc.testing.stores import ArtifactStoreContract, Sources
from tests.unit.testing.broken_stores import DEFECTS, listing, putting, reading, signing, troubles
from tests.unit.testing.broken_stores.served import ServedStore, Server, outage_of

pytest_plugins = ("pytester",)
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "artifact-stores.md"
MEMORY = Path("/dev/shm")
"""Where nobody waits for a disk."""
MODULES = {module.__name__ for module in (listing, putting, reading, signing, troubles)}
KINDS = [kind for kind in DEFECTS if kind.__module__ in MODULES]


class ServedContract(ArtifactStoreContract):
    """The contract on a store that has everything, with small objects."""

    kind: type[ServedStore] = ServedStore
    part_size = 64 << 10
    big = (4 << 20) + 1
    memory = 3 << 20
    many = 60
    kills = 1
    patience = 10.0
    shortly = timedelta(seconds=0.05)

    def open(self, settings: StoreSettings) -> ArtifactStore:
        return self.kind.from_settings(settings)

    @pytest.fixture
    def settings(self, tmp_path: Path) -> Iterator[StoreSettings]:
        with self.served(tmp_path) as settings:
            yield settings

    @contextmanager
    def served(self, folder: Path) -> Iterator[StoreSettings]:
        (folder / "store").mkdir()
        url = (folder / "store").as_uri()
        server = Server(self.kind.from_settings(StoreSettings("shelf", url)))
        self.settings_now = StoreSettings("shelf", url, {"port": server.port})
        try:
            yield self.settings_now
        finally:
            server.close()

    @contextmanager
    def outage(self) -> Iterator[None]:
        switch = outage_of(self.settings_now)
        switch.touch()
        try:
            yield
        finally:
            switch.unlink()

    def denied(self, settings: StoreSettings) -> StoreSettings:
        return StoreSettings(settings.name, settings.url, {"readonly": "yes"})

    def missing(self, settings: StoreSettings) -> StoreSettings:
        return StoreSettings(settings.name, f"{settings.url}/missing")

    def full(self, settings: StoreSettings) -> AbstractContextManager[StoreSettings]:
        return nullcontext(StoreSettings(settings.name, settings.url, {"quota": str(4 << 20)}))

    def leftovers(self, settings: StoreSettings) -> Sequence[str]:
        incoming = folder_of(settings) / ".incoming"
        return [each.name for each in incoming.iterdir()] if incoming.exists() else ()


SOUND = ServedStore.mro()
TESTS = sorted(name for name in dir(ServedContract) if name.startswith("test_"))


class TestServedStore(ServedContract):
    """A sound store passes, with nothing skipped."""


def failures(kind: type[ServedStore], folder: Path) -> dict[str, str]:
    """Runs each test of the contract as pytest would; returns those that fail, with the reason."""
    found = {}
    for name in TESTS:
        contract = ServedContract()
        contract.kind, contract.patience = kind, 1.5
        # Processes are killed for those that write in a way of their own: it takes long.
        writes = any("put" in vars(each) for each in kind.mro()[: -len(SOUND)])
        contract.kills = kind.kills if writes else 0
        place = folder / name
        place.mkdir()
        try:
            run(getattr(contract, name), contract, place)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
        shutil.rmtree(place)
    return found


def run(test: Callable[..., None], contract: ServedContract, folder: Path) -> None:
    """One test, with its fixtures."""
    (folder / "sources").mkdir()
    with contract.served(folder) as settings:
        fixtures: dict[str, Callable[[], Any]] = {
            "settings": lambda: settings,
            "store": lambda: contract.open(settings),
            "new_store": lambda: lambda: contract.open(settings),
            "sources": lambda: Sources(folder / "sources"),
        }
        test(**{name: fixtures[name]() for name in inspect.signature(test).parameters})


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_defects_are_found(kind: type[ServedStore]) -> None:
    """Exactly the tests that are meant for it fail, and say more than that they do."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        found = failures(kind, Path(folder))
    assert set(found) == DEFECTS[kind], found
    assert not [text for text in found.values() if text.endswith(": ")]


TAPE = """
from subgrpc.artifacts import StoreSettings
from subgrpc.artifacts.filestore import FileStore

class TapeStore(FileStore):
    scheme = "tape"

    @classmethod
    def from_settings(cls, settings):
        url = settings.url.replace("tape:", "file:")
        return super().from_settings(StoreSettings(settings.name, url, settings.options))
"""


def test_the_documentation_s_example(pytester: pytest.Pytester) -> None:
    """docs/artifact-stores.md shows a plugin and its tests: pytest finds the contract in them."""
    blocks = re.findall(r"^```(?:python|toml)\n(.*?)^```", DOCUMENT.read_text(), re.M | re.S)
    point, plugin, tests = (
        next(each for each in blocks if mark in each)
        for mark in ("entry-points", "subgrpc_register_artifact_stores", "ArtifactStoreContract")
    )
    package = pytester.mkpydir("subgrpc_tape")
    (package / "plugin.py").write_text(plugin)
    (package / "store.py").write_text(TAPE)
    info = pytester.mkdir("subgrpc_tape-1.dist-info")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: subgrpc_tape\nVersion: 1\n")
    line = point.splitlines()[1].replace('"', "")
    (info / "entry_points.txt").write_text(f"[subgrpc]\n{line}\n")
    pytester.syspathinsert()
    pytester.makepyfile(test_tape=tests)
    wanted = ["its_settings", "sizes", "lists", "a_put_that_is_killed"]
    expression = " or ".join(f"test_{each}" for each in wanted)
    quiet = ("-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function")
    outcome = pytester.runpytest("-k", expression, *quiet)
    outcome.assert_outcomes(passed=len(wanted), deselected=len(TESTS) - len(wanted))


def test_every_test_of_the_contract_can_fail() -> None:
    """There is a defect for each of them."""
    assert sorted(set(TESTS) - set().union(*DEFECTS.values())) == []
