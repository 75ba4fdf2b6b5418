"""Drivers come from plugins, by name, and only those that are asked for are imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from subgrpc.artifacts import StoreSettings
from subgrpc.errors import FailedPrecondition, InvalidArgument
from subgrpc.plugins import PluginManager, hookimpl, open_store
from subgrpc.testing.fake import FakeBackend, FakeDriver


def install(folder: Path, name: str, module: str, code: str) -> None:
    """Installs a distribution with one entry point."""
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[subgrpc]\n{name} = {module}\n")
    (folder / f"{module}.py").write_text(code)


def test_the_local_driver_is_a_plugin() -> None:
    """It is found through its entry point, as any other."""
    assert PluginManager().driver("local").name == "local"
    assert "local" in PluginManager().installed()


def test_unknown_driver() -> None:
    """A name that no plugin has is refused with the names that there are."""
    with pytest.raises(InvalidArgument, match=r"no driver 'locla'; installed are: .*local"):
        PluginManager().driver("locla")


def test_registered_by_hand() -> None:
    """A plugin without an entry point works the same way."""
    manager = PluginManager()
    manager.register(FakeBackend().plugin())
    assert issubclass(manager.driver("fake"), FakeDriver)
    assert "fake" in manager.installed()


def test_the_file_store_is_a_plugin() -> None:
    """A store is found by the scheme of its URLs, through its entry point, as a third party's."""
    assert PluginManager().store("file").scheme == "file"
    assert "file" in PluginManager().installed()


def test_unknown_store() -> None:
    """A scheme that no plugin has is refused with what there is, and where more is to be had."""
    with pytest.raises(InvalidArgument, match=r"'ftp' URLs; .*file.*subgrpc-storage") as refused:
        open_store(StoreSettings("far", "ftp://host/path"), PluginManager())
    assert refused.value.reason == "STORE_UNKNOWN"
    with pytest.raises(InvalidArgument, match=r"'far'.*URL is none"):
        open_store(StoreSettings("far", "/path"), PluginManager())


def test_a_driver_is_no_store() -> None:
    """A plugin of that name is there, and has something else."""
    with pytest.raises(FailedPrecondition, match="'local' is installed but registers no artifact"):
        PluginManager().store("local")
    with pytest.raises(FailedPrecondition, match="'file' is installed but registers no driver"):
        PluginManager().driver("file")


def test_what_is_no_store_is_refused() -> None:
    """A plugin that registers something else is named."""

    class Wrong:
        @hookimpl
        def subgrpc_register_artifact_stores(self) -> dict[str, object]:
            return {"wrong": FakeDriver}

    with pytest.raises(FailedPrecondition, match=r"'wrong'.*\.ArtifactStore"):
        PluginManager().register(Wrong())


def test_what_is_no_driver_is_refused() -> None:
    """A plugin that registers something else is named."""

    class Wrong:
        @hookimpl
        def subgrpc_register_drivers(self) -> dict[str, object]:
            return {"wrong": object()}

    with pytest.raises(FailedPrecondition, match="'wrong'"):
        PluginManager().register(Wrong())


def test_third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution's driver is found; a broken one is named, and harms no other."""
    good = (
        "from subgrpc.plugins import hookimpl\n"
        "from subgrpc.testing.fake import FakeDriver\n"
        "class Third(FakeDriver):\n    name = 'third_party'\n"
        "@hookimpl\ndef subgrpc_register_drivers():\n    return {'third_party': Third}\n"
    )
    install(tmp_path, "third_party", "third_party_plugin", good)
    install(tmp_path, "broken", "broken_plugin", "import no_such_module_anywhere\n")
    install(tmp_path, "silent", "silent_plugin", "")
    late = (
        "from subgrpc.plugins import hookimpl\n"
        "@hookimpl\ndef subgrpc_register_drivers():\n    import no_such_module_either\n"
    )
    install(tmp_path, "late", "late_plugin", late)
    monkeypatch.syspath_prepend(tmp_path)
    manager = PluginManager()
    with pytest.raises(FailedPrecondition, match=r"'broken' cannot be imported: .*no_such_module"):
        manager.driver("broken")
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match=r"'late' cannot be imported: .*either"):
            manager.driver("late")
    with pytest.raises(FailedPrecondition, match="'silent' is installed but registers no driver"):
        manager.driver("silent")
    assert manager.driver("third_party").name == "third_party"
    assert {"broken", "local", "silent", "third_party"} <= set(manager.installed())


def test_only_what_is_asked_for_is_imported() -> None:
    """The manager alone loads neither a driver nor gRPC."""
    code = (
        "import sys; from subgrpc.plugins import PluginManager; PluginManager().installed()\n"
        "print(sorted(sys.modules.keys() & {'grpc', 'asyncinotify', 'subgrpc.driver.local', "
        "'subgrpc.artifacts.filestore'}))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "[]\n"
