"""`subgrpc init`: a start that works, and harms nothing that is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from subgrpc.cli.main import run
from subgrpc.spec import load_spec


def test_what_it_writes_is_valid_and_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The spec as it is, the program with any Python and nothing installed."""
    folder = tmp_path / "My Project: 'x'"
    assert run(["init", str(folder)]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [str(folder / "experiment.yaml"), str(folder / "train.py")]
    assert "subgrpc run" in told.err
    spec = load_spec(folder / "experiment.yaml").experiment
    assert spec.labels["project"] == "My-Project-x"
    command = [sys.executable, "-I", "-S", "train.py", "--epochs", "2"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("epoch 1/2  loss ")


@pytest.mark.parametrize("there", ["experiment.yaml", "train.py"])
def test_it_never_overwrites(
    there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even a link to nowhere; then it writes nothing at all."""
    (tmp_path / there).write_text("mine")
    assert run(["init", str(tmp_path)]) == 1
    assert there in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"
    (tmp_path / there).unlink()
    (tmp_path / there).symlink_to(tmp_path / "nowhere")
    assert run(["init", str(tmp_path)]) == 1
    assert not (tmp_path / "nowhere").exists()
