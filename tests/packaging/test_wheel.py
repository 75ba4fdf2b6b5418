"""What people install: the wheel's contents, and what it says where extras are missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from email import message_from_bytes
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SLIM = ("grpc", "google", "pluggy", "typing_extensions")
"""Modules of what `pip install subgrpc` brings along; `cli` adds the two others."""


def built(project: Path, out: Path) -> Path:
    """A project's wheel."""
    if find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed")
    script = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", script, out], cwd=project, capture_output=True, text=True, check=True
    )
    return out / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of subgrpc itself."""
    return built(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def storage_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the artifact stores."""
    return built(ROOT / "storage", tmp_path_factory.mktemp("storage"))


def installed(folder: Path, wheel: Path, *modules: str) -> Path:
    """A virtual environment with the wheel and nothing else but some modules of ours."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    unpack(wheel, packages)
    for each in modules:
        spec = find_spec(each)
        assert spec is not None
        places = list(spec.submodule_search_locations or [spec.origin])
        source = Path(str(places[0]))
        (packages / source.name).symlink_to(source)
    return folder / "bin" / "python"


def unpack(wheel: Path, packages: Path) -> None:
    """What an installer does with a wheel of pure Python."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)


def run(python: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs Python with an environment of nothing but an empty home."""
    home = python.parent / "home"
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [python, *words],
        env={"HOME": str(home), "PATH": os.defpath},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


ENTRY = ("-c", "import sys; from subgrpc.cli.entry import main; sys.argv[0] = 'subgrpc'; main()")


def test_the_wheel_holds_what_runs_and_nothing_else(wheel: Path) -> None:
    """All of the package, typed; no tests, tools or caches; licence and entry points."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (meta,) = (each for each in names if each.endswith(".dist-info/METADATA"))
        facts = message_from_bytes(archive.read(meta))
        points = archive.read(meta.replace("METADATA", "entry_points.txt")).decode()
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "subgrpc"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    folder = meta.partition("/")[0]
    ours = {each for each in names if not each.startswith(f"{folder}/")}
    assert ours == {each for each in tracked.stdout.split() if (ROOT / each).exists()}
    assert {"subgrpc/py.typed", "subgrpc/cli/starter/train.py"} <= ours
    assert f"{folder}/licenses/LICENSE" in names
    assert facts["License-Expression"] == "Apache-2.0"
    assert set(facts.get_all("Provides-Extra")) >= {"server", "cli", "all"}
    assert facts["Description-Content-Type"] == "text/markdown"
    assert "subgrpc = subgrpc.cli.entry:main" in points
    assert "local = subgrpc.driver.local.plugin" in points
    assert "file = subgrpc.artifacts.plugin" in points


def test_alone_it_is_the_sdk_and_the_driver_contract(wheel: Path, tmp_path: Path) -> None:
    """And what else there is says how to get it."""
    python = installed(tmp_path / "slim", wheel, *SLIM)
    script = "import subgrpc.client, subgrpc.driver, subgrpc.plugins, subgrpc.testing, subgrpc.spec"
    run(python, "-c", script)
    told = run(python, *ENTRY, "list", code=1).stderr
    assert "pip install 'subgrpc[cli]'" in told
    assert "Traceback" not in told
    (tmp_path / "spec.yaml").write_text("command: x")
    script = (
        "from subgrpc.client import Client\n"
        f"Client('localhost:1').experiments.create(spec={str(tmp_path / 'spec.yaml')!r})"
    )
    assert "pip install 'subgrpc[cli]'" in run(python, "-c", script, code=1).stderr


def test_with_the_command_line_only_the_server_is_missing(wheel: Path, tmp_path: Path) -> None:
    """`up` says so; everything else works."""
    python = installed(tmp_path / "cli", wheel, *SLIM, "click", "yaml", "_yaml")
    for words in (["up"], ["up", "--detach"]):
        told = run(python, *ENTRY, *words, code=1).stderr
        assert "pip install 'subgrpc[server]'" in told
        assert "Traceback" not in told
    assert json.loads(run(python, *ENTRY, "version", "--client", "-o", "json").stdout)["client"]
    run(python, *ENTRY, "init", ".")
    run(python, *ENTRY, "validate", "experiment.yaml")


def test_the_wheel_of_the_stores(storage_wheel: Path) -> None:
    """All of the package, typed; an extra and an entry point for each store; the licence."""
    with zipfile.ZipFile(storage_wheel) as archive:
        names = set(archive.namelist())
        (meta,) = (each for each in names if each.endswith(".dist-info/METADATA"))
        facts = message_from_bytes(archive.read(meta))
        points = archive.read(meta.replace("METADATA", "entry_points.txt")).decode()
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "subgrpc_storage"],
        cwd=ROOT / "storage", capture_output=True, text=True, check=True,
    )  # fmt: skip
    folder = meta.partition("/")[0]
    assert {each for each in names if not each.startswith(f"{folder}/")} == set(
        tracked.stdout.split()
    )
    assert "subgrpc_storage/py.typed" in names
    assert f"{folder}/licenses/LICENSE" in names
    assert set(facts.get_all("Provides-Extra")) == {"s3", "hdfs"}
    assert "s3 = subgrpc_storage.s3_plugin" in points
    assert "hdfs = subgrpc_storage.hdfs_plugin" in points
    assert (ROOT / "storage" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_stores_without_their_extra(wheel: Path, storage_wheel: Path, tmp_path: Path) -> None:
    """They say which is missing, and the store of folders works."""
    python = installed(tmp_path / "slim", wheel, *SLIM)
    (packages,) = (tmp_path / "slim").glob("lib/python3*/site-packages")
    unpack(storage_wheel, packages)
    for scheme in ("s3", "hdfs"):
        script = f"from subgrpc.plugins import PluginManager; PluginManager().store({scheme!r})"
        told = run(python, "-c", script, code=1).stderr
        assert f"pip install 'subgrpc-storage[{scheme}]'" in told
    script = (
        "from subgrpc.plugins import PluginManager, open_store\n"
        "from subgrpc.artifacts import StoreSettings\n"
        f"open_store(StoreSettings('disk', {tmp_path.as_uri()!r}), PluginManager()).check()"
    )
    run(python, "-c", script)
