"""The Python code of docs/sdk.md, and examples/sdk, run as they stand there on a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs" / "sdk.md").read_text(), re.MULTILINE | re.DOTALL
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where a server runs on a free port, the address of which is in SUBGRPC_ADDRESS."""
    folder = tmp_path_factory.mktemp("sdk")
    env = {key: value for key, value in os.environ.items() if not key.startswith("SUBGRPC_")}
    env["SUBGRPC_DATA_DIR"] = str(folder / "data")
    up = [str(BIN / "subgrpc"), "up", "--detach", "--listen", "127.0.0.1:0", "-o", "json"]
    told = subprocess.run(up, env=env, check=True, capture_output=True, cwd=folder).stdout
    yield {**env, "SUBGRPC_ADDRESS": json.loads(told)["addresses"][0]}
    subprocess.run([str(BIN / "subgrpc"), "down"], env=env, check=True, capture_output=True)


def test_the_code_of_the_document_runs(environment: dict[str, str], tmp_path: Path) -> None:
    """All of it, from top to bottom, as one program."""
    program = tmp_path / "program.py"
    program.write_text("\n".join(BLOCKS))
    done = subprocess.run(
        [sys.executable, program],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("training\ndone\n")
    assert "main-0 1\n" in done.stdout
    assert "SERVER_UNREACHABLE" in done.stdout
    assert len(BLOCKS) > 7


@pytest.mark.parametrize(
    ("name", "line"),
    [("blocking", "0.001 is my learning rate"), ("asynchronous", "now SUCCEEDED")],
)
def test_the_examples_run(environment: dict[str, str], name: str, line: str) -> None:
    """They end well, and print what they promise."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "sdk" / f"{name}.py"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert line in done.stdout
