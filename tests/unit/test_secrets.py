"""Secrets in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from subgrpc.errors import FailedPrecondition, NotFound
from subgrpc.secrets import MAX_BYTES, FileSecrets, parse_reference


@pytest.fixture
def secrets(tmp_path: Path) -> FileSecrets:
    folder = tmp_path / "default"
    folder.mkdir()
    (folder / "token").write_bytes(b"s3cret\n")
    (folder / "huge").write_bytes(b"x" * (MAX_BYTES + 1))
    (tmp_path / "outside").write_bytes(b"no")
    return FileSecrets(tmp_path)


def test_a_value_is_the_file_without_its_last_line_break(secrets: FileSecrets) -> None:
    """What an editor appends is not part of the secret."""
    assert secrets.read("default", "token") == b"s3cret"
    assert secrets.exists("default", "token")


@pytest.mark.parametrize("name", ["missing", "../outside", "..", "", "a/b", "TOKEN"])
def test_what_is_no_name_or_not_there_is_not_found(secrets: FileSecrets, name: str) -> None:
    """No name leads out of the team's folder."""
    with pytest.raises(NotFound):
        secrets.read("default", name)


def test_a_huge_value_is_refused(secrets: FileSecrets) -> None:
    """A value that would not fit into an environment is an error, not a cut value."""
    with pytest.raises(FailedPrecondition):
        secrets.read("default", "huge")


def test_references_are_of_the_same_team_unless_they_say_so() -> None:
    """`NAME` and `teams/TEAM/secrets/NAME`."""
    assert parse_reference("token", "default") == ("default", "token")
    assert parse_reference("teams/a/secrets/token", "default") == ("a", "token")
