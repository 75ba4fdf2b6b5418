"""`subgrpc admin` on the data folder of a running server, and what is restored from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Cli


@pytest.mark.thorough
@pytest.mark.sqlite
def test_a_running_server_is_backed_up_checked_and_restored(
    shared: Cli, tmp_path: Path, databases: Any
) -> None:
    """A second server on what was restored shows the same experiment with the same output."""
    shared("run", "-q", "--name", "kept", "--", "echo", "precious", code=0)
    target = tmp_path / "backup.tar.gz"
    told = shared("admin", "backup", str(target), code=0).stderr.decode()
    assert f"{target}: " in told
    assert json.loads(shared("admin", "check", "-o", "json", code=0).stdout)["problems"] == []
    again = Cli(tmp_path, databases)
    again("admin", "restore", str(target), code=0)
    assert again("admin", "check", code=0).stdout == b""
    again.up()
    assert again("logs", "kept", code=0).stdout == b"precious\n"
    assert again("admin", "confirm", code=0).stderr == b"subgrpc: confirmed\n"
    again.close()


@pytest.mark.sqlite
def test_refusals_say_what_to_do(shared: Cli, tmp_path: Path) -> None:
    """With the reason whose entry `subgrpc errors` prints."""
    target = tmp_path / "there"
    target.write_bytes(b"no backup")
    for words, reason in (
        (("backup", str(target)), "BACKUP_EXISTS"),
        (("restore", str(target), "--data-dir", str(tmp_path / "x")), "BACKUP_DAMAGED"),
        (("restore", str(target)), "DATA_DIR_NOT_EMPTY"),
        (("check", "--data-dir", str(tmp_path)), "METASTORE_NOT_FOUND"),
    ):
        said = shared("admin", *words, code=1).stderr.decode()
        assert f"subgrpc errors {reason}" in said
    assert sorted(each.name for each in tmp_path.iterdir()) == ["there"]


@pytest.mark.sqlite
def test_a_problem_is_a_line_and_an_exit_code(shared: Cli, tmp_path: Path, databases: Any) -> None:
    """A log of nobody, put where the check looks for logs."""
    target = tmp_path / "b.tar"
    shared("admin", "backup", str(target), code=0)
    again = Cli(tmp_path, databases)
    again("admin", "restore", str(target), code=0)
    (again.data / "journals" / "nobody" / "1").mkdir(parents=True)
    done = again("admin", "check", code=1)
    assert done.stdout.startswith(b"JOURNAL_ORPHAN: ")
    assert b"1 problems" in done.stderr


@pytest.mark.postgres
def test_a_database_is_checked_and_given_another_history(tmp_path: Path, databases: Any) -> None:
    """Where its URL stands; the data folder's part is a backup of its own."""
    cli = Cli(tmp_path, databases)
    cli.up()
    cli("run", "-q", "--name", "kept", "--", "echo", "precious", code=0)
    report = json.loads(cli("admin", "check", "-o", "json", code=0).stdout)
    assert (report["experiments"], report["problems"]) == (1, [])
    cli("down", code=0)
    cli("admin", "backup", str(tmp_path / "logs.tar"), code=0)
    assert cli("admin", "confirm", code=0).stderr.startswith(b"subgrpc: nothing to confirm")
    assert b"begins" in cli("admin", "new-history", code=0).stderr
    cli.up()
    assert cli("logs", "kept", code=0).stdout == b"precious\n"
    assert cli("admin", "confirm", code=0).stderr == b"subgrpc: confirmed\n"
    cli.close()
