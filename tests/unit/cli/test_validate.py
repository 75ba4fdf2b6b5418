"""`subgrpc validate`: all mistakes of all files, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from subgrpc.cli.main import run


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A good spec and a bad one."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.json"
    good.write_text("command: x")
    bad.write_text('{"command": "x",\n "replicas": 0, "labls": {}}')
    return good, bad


def test_a_valid_spec_is_said_to_be_so(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """With code 0."""
    assert run(["validate", str(files[0])]) == 0
    assert capsys.readouterr() == (f"{files[0]}: valid\n", "")


def test_every_mistake_of_every_file_is_a_line(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stdout, since they are what was asked for; with code 1."""
    missing = tmp_path / "none.yaml"
    assert run(["validate", *map(str, files), str(missing)]) == 1
    told = capsys.readouterr()
    assert told.err == ""
    lines = told.out.splitlines()
    assert lines[0] == f"{files[0]}: valid"
    assert lines[1] == f"{files[1]}:2:14: replicas: is 0; allowed is 1 to 1000"
    assert lines[2].startswith(f"{files[1]}:2:17: labls: is no known key; did you mean 'labels'?")
    assert lines[3] == f"{missing}: cannot be read: No such file or directory"


def test_programs_get_json(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """One document, with the same code."""
    assert run(["validate", "-o", "json", *map(str, files)]) == 1
    good, bad = json.loads(capsys.readouterr().out)
    assert good == {"file": str(files[0]), "valid": True, "mistakes": [], "omitted": 0}
    assert (bad["valid"], bad["mistakes"][0]) == (
        False,
        {
            "place": f"{files[1]}:2:14",
            "field": "replicas",
            "description": "is 0; allowed is 1 to 1000",
            "reason": "OUT_OF_RANGE",
        },
    )


def test_without_a_file_the_usage_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """Code 2."""
    assert run(["validate"]) == 2
    assert "FILE" in capsys.readouterr().err


def test_a_file_cannot_drive_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Escape sequences in its keys are not printed."""
    spec = tmp_path / "a.json"
    spec.write_text('{"\\u001b[31mcommand": 1}')
    assert run(["validate", str(spec)]) == 1
    assert "\x1b" not in capsys.readouterr().out
