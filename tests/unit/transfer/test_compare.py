"""A folder beside the files of an artifact."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from subgrpc.client.transfer.compare import compare
from subgrpc.v1.artifact_service_pb2 import ArtifactFile


@pytest.fixture
def files(tmp_path: Path) -> list[ArtifactFile]:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_text("1")
    (tmp_path / "two").write_text("22")
    (tmp_path / "two").chmod(0o755)
    (tmp_path / "link").symlink_to("a/one")
    (tmp_path / "nothing").mkdir()
    digests = [hashlib.sha256(each).hexdigest() for each in (b"1", b"22")]
    return [
        ArtifactFile(path="a/one", size_bytes=1, sha256=digests[0]),
        ArtifactFile(path="link", link_target="a/one"),
        ArtifactFile(path="two", size_bytes=2, sha256=digests[1], mode=0o755),
    ]


def differences(folder: Path, files: list[ArtifactFile]) -> dict[str, str]:
    return {each.path: each.message for each in compare(str(folder), files)}


def test_what_is_the_same(tmp_path: Path, files: list[ArtifactFile]) -> None:
    """Empty folders, times and other people's permissions do not matter."""
    (tmp_path / "a" / "one").chmod(0o600)
    os.utime(tmp_path / "two", (0, 0))
    assert differences(tmp_path, files) == {}


def test_what_is_different(tmp_path: Path, files: list[ArtifactFile]) -> None:
    """Each file with what it is."""
    (tmp_path / "a" / "one").write_text("2")
    (tmp_path / "two").chmod(0o644)
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("two")
    (tmp_path / "more").write_text("")
    assert differences(tmp_path, files) == {
        "a/one": "has other content",
        "two": "may be executed here, or there, and not in the other place",
        "link": "is another link, or none",
        "more": "is not in the artifact",
    }
    (tmp_path / "two").unlink()
    (tmp_path / "a" / "one").write_text("long")
    found = differences(tmp_path, files)
    assert found["two"] == "is missing"
    assert found["a/one"] == "has 4 bytes, not 1"


def test_a_link_is_no_file(tmp_path: Path, files: list[ArtifactFile]) -> None:
    """Nor is a file below a link to a folder: what it leads to may change."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a" / "one").rename(tmp_path / "elsewhere" / "one")
    (tmp_path / "a").rmdir()
    (tmp_path / "a").symlink_to("elsewhere")
    assert set(differences(tmp_path, files)) == {"a/one", "a", "elsewhere/one"}
