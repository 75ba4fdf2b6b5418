"""The example of digits, from its training to a model that is pulled: with any artifact store."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import Cli

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "digits"


def trained(folder: Path, epochs: int) -> bytes:
    """The weights that the training leaves when nobody else has a hand in it."""
    (folder / "model").mkdir(parents=True)
    subprocess.run(
        [sys.executable, EXAMPLE / "train.py", "--epochs", str(epochs)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "SUBGRPC_OUTPUT_DIR": str(folder)},
        check=True,
        capture_output=True,
    )
    return (folder / "model" / "digits.npz").read_bytes()


def train_register_and_pull(cli: Cli, *store: str) -> None:
    """Two trainings become two versions; the champion moves, comes back, and is pulled.

    Args:
        cli: a command whose server is not up yet.
        store: options of `up` that name the artifact store.
    """
    cli.up(*store)
    spec = str(EXAMPLE / "experiment.yaml")
    wanted = {}
    for number, epochs in enumerate((2, 3), 1):
        run = f"digits-{number}"
        # Its output `model` names the model of which it becomes the next version.
        cli("run", spec, "--name", run, "-e", f"EPOCHS={epochs}", code=0)
        assert cli.json("model", "get", "digits@latest")["number"] == number
        cli("model", "alias", "digits", "champion", str(number), code=0)
        wanted[number] = trained(cli.folder / f"wanted-{number}", epochs)
    assert wanted[1] != wanted[2]
    cli("model", "pull", "digits@champion", "second", code=0)
    cli("model", "rollback", "digits", "champion", "-m", "the first was better", code=0)
    cli("model", "pull", "digits@champion", "first", code=0)
    assert (cli.folder / "first" / "digits.npz").read_bytes() == wanted[1]
    assert (cli.folder / "second" / "digits.npz").read_bytes() == wanted[2]
    version = cli.json("model", "get", "digits@champion")
    assert version["lineage"]["experiment"].endswith("/experiments/digits-1")
    refused = cli("artifact", "rm", "--yes", version["artifact"], code=1)
    assert b"ARTIFACT_IN_USE" in refused.stderr
