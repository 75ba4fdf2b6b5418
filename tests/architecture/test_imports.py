"""What an import costs and drags along: promises that import-linter cannot see.

The layers themselves are contracts in pyproject.toml, checked by `make lint`.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "subgrpc"
AGENT = PACKAGE / "agent"
GENERATED = ("_pb2.py", "_pb2_grpc.py")
SERVER_ONLY = {"alembic", "asyncinotify", "sqlalchemy", "sqlmodel", "structlog", "uvloop"}
OLD_PYTHONS = ("3.8", "3.9")


def loaded_by(*command: str) -> set[str]:
    """The modules that are loaded once a fresh interpreter has run a piece of code."""
    report = "import sys, json; sys.stderr.write(json.dumps(sorted(sys.modules)))"
    code = f"{'; '.join(command)}\n{report}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "module",
    ["driver", "errors", "names", "quantities", "spec", "plugins", "workloads", "v1.spec_pb2"],
)
def test_platforms_embed_us_without_grpc(module: str) -> None:
    """The driver SPI and everything below it load neither gRPC nor anything of the server's."""
    loaded = loaded_by(f"import subgrpc.{module}")
    assert not loaded & {"grpc", *SERVER_ONLY}


def test_the_sdk_needs_nothing_of_the_server() -> None:
    """`pip install subgrpc` without extras is enough to import the client."""
    loaded = loaded_by("import subgrpc.client")
    assert not loaded & {*SERVER_ONLY, "click", "yaml", "subgrpc.metastore", "subgrpc.engine"}


def test_the_help_of_the_command_loads_no_grpc() -> None:
    """`subgrpc --help` answers at once: what a command needs is loaded when it runs."""
    loaded = loaded_by(
        "from click.testing import CliRunner",
        "from subgrpc.cli.main import cli",
        "result = CliRunner().invoke(cli, ['--help'])",
        "assert result.exit_code == 0, result.output",
    )
    assert not loaded & {"grpc", *SERVER_ONLY}


def test_the_plugin_manager_imports_no_driver() -> None:
    """Only the drivers of configured clusters are imported, when they are asked for."""
    loaded = loaded_by("import subgrpc.plugins")
    assert "subgrpc.driver.local" not in loaded


def imports_of(source: Path) -> list[ast.Import | ast.ImportFrom]:
    """The import statements of a module, those inside functions too."""
    tree = ast.parse(source.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


@pytest.mark.parametrize("source", sorted(AGENT.rglob("*.py")), ids=lambda path: path.name)
def test_the_agent_needs_only_the_standard_library(source: Path) -> None:
    """It runs from a zipapp on foreign machines: no packages, and itself only by relative name."""
    for node in imports_of(source):
        if isinstance(node, ast.ImportFrom) and node.level:
            continue
        names = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        for name in names:
            assert name is not None
            assert name.split(".")[0] in sys.stdlib_module_names, f"{source.name}: {name}"


@pytest.mark.parametrize("version", OLD_PYTHONS)
def test_the_agent_loads_on_old_pythons(version: str) -> None:
    """Cluster nodes run what they run: every module of the agent loads on Python 3.8."""
    found = subprocess.run(
        ["tools/find_python", version], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip(f"Python {version} is not installed")
    modules = [
        ".".join(("agent", *source.relative_to(AGENT).with_suffix("").parts))
        for source in sorted(AGENT.rglob("*.py"))
        if source.stem not in ("__init__", "__main__")
    ]
    # Behind the standard library: our `secrets` must not stand in for Python's.
    code = f"import sys; sys.path.append({str(PACKAGE)!r}); import {', '.join(modules)}"
    done = subprocess.run(
        [found.stdout.strip(), "-I", "-S", "-B", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_modules_stay_small() -> None:
    """A module is thought over at 300 lines and split by 500."""
    lengths = {
        str(source.relative_to(ROOT)): len(source.read_text().splitlines())
        for source in PACKAGE.rglob("*.py")
        if not source.name.endswith(GENERATED)
    }
    assert {name: length for name, length in lengths.items() if length >= 500} == {}


def test_modules_say_why_they_exist() -> None:
    """The first line of a module is a docstring."""
    silent = [
        str(source.relative_to(ROOT))
        for source in PACKAGE.rglob("*.py")
        if not source.name.endswith(GENERATED)
        and not ast.get_docstring(ast.parse(source.read_text()))
    ]
    assert silent == []
