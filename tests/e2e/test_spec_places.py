"""What only the server can know of a spec is told with its place in the file all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Cli


@pytest.mark.parametrize(
    ("line", "options", "told"),
    [
        ("env: {TOKEN: {secret: nope}}", (), ":2:23: env.TOKEN.secret: there is no secret"),
        ("env: {A: 1, T: {secret: no}}", ("-e", "A=2", "-e", "B=3"), ":2:25: env.T.secret: "),
        ("cluster: nowhere", (), ":2:10: cluster: there is no cluster 'nowhere'"),
        ("driver_options: {local: {nice: 3}}", (), ":2:32: driver_options.local.nice: "),
        ("labels: {a: b}", ("--cluster", "nowhere"), ": cluster: there is no cluster"),
    ],
)
def test_what_the_server_refuses_has_its_place(
    shared: Cli, tmp_path: Path, line: str, options: tuple[str, ...], told: str
) -> None:
    """What an option of the command line said has the file only."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"command: x\n{line}\n")
    done = shared("run", *options, str(spec), code=125)
    assert f"{spec}{told}" in done.stderr.decode()
