"""What is found in files and folders that are to be pushed."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from subgrpc.client.transfer.scan import scan
from subgrpc.errors import InvalidArgument


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for path in ("b.txt", "a/z.bin", "a/b/c", "a.txt"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
    (root / "empty").mkdir()
    return root


def found(*sources: Path, exclude: tuple[str, ...] = ()) -> list[str]:
    return [each.path for each in scan(sources, exclude)]


def test_a_folder_is_the_root(folder: Path) -> None:
    """Its files by path in the order of bytes; folders without files leave no trace."""
    assert found(folder) == ["a.txt", "a/b/c", "a/z.bin", "b.txt"]
    (file,) = [each for each in scan([folder]) if each.path == "a/b/c"]
    assert (file.size, file.source) == (5, str(folder / "a/b/c"))


def test_files_and_several_folders_have_their_names(folder: Path) -> None:
    """One file stands alone, each of several paths below its name; links to them are followed."""
    assert found(folder / "b.txt") == ["b.txt"]
    assert found(folder / "b.txt", folder / "a") == ["a/b/c", "a/z.bin", "b.txt"]
    (folder.parent / "here").symlink_to(folder)
    assert found(folder.parent / "here") == found(folder)
    with pytest.raises(InvalidArgument, match="would both be a"):
        scan([folder / "a", folder / "x" / ".." / "a"])
    with pytest.raises(FileNotFoundError):
        scan([folder / "nowhere"])


def test_what_is_excluded(folder: Path) -> None:
    """As in .gitignore, from the folder's own file and from the caller."""
    assert found(folder, exclude=("*.txt", "!b.txt")) == ["a/b/c", "a/z.bin", "b.txt"]
    assert found(folder, exclude=("a/",)) == ["a.txt", "b.txt"]
    assert found(folder, exclude=("/a.txt", "a/b/**")) == ["a/z.bin", "b.txt"]
    (folder / ".subgrpcignore").write_text("# notes\n*.bin\n/b.txt\n")
    assert found(folder) == ["a.txt", "a/b/c"]
    assert found(folder, exclude=("!b.txt",)) == ["a.txt", "a/b/c", "b.txt"]
    (folder / "a" / ".subgrpcignore").write_text("*")  # that is a file as any other
    assert "a/.subgrpcignore" in found(folder)


def test_what_a_pull_has_left_is_no_content(folder: Path) -> None:
    """A hidden folder of ours, wherever it is."""
    for place in (folder, folder / "a"):
        (place / ".subgrpc-pull-0123" / "files").mkdir(parents=True)
        (place / ".subgrpc-pull-0123" / "files" / "half").write_text("")
    assert found(folder) == ["a.txt", "a/b/c", "a/z.bin", "b.txt"]


def test_permissions(folder: Path) -> None:
    """The usual bits only: nobody is made somebody else by a pull."""
    (folder / "b.txt").chmod(0o4755)
    (folder / "a.txt").chmod(0o600)
    modes = {each.path: each.mode for each in scan([folder])}
    assert (modes["b.txt"], modes["a.txt"]) == (0o755, 0o600)


def test_links(folder: Path) -> None:
    """Those inside stay links, to folders too; others are refused, all of them by name."""
    (folder / "link").symlink_to("a/b")
    (folder / "a" / "up").symlink_to("../b.txt")
    links = {each.path: each.link_target for each in scan([folder]) if each.link_target}
    assert links == {"link": "a/b", "a/up": "../b.txt"}
    (folder / "out").symlink_to("../../etc")
    (folder / "absolute").symlink_to(folder / "b.txt")
    (folder / "a" / "around").symlink_to("b/../z.bin")
    with pytest.raises(InvalidArgument) as refused:
        scan([folder])
    assert refused.value.reason == "LINK_OUTSIDE"
    assert str(folder / "out") in refused.value.message
    assert str(folder / "absolute") in refused.value.message
    assert str(folder / "a" / "around") in refused.value.message
    assert found(folder, exclude=("out", "absolute", "around")) == [
        *("a.txt", "a/b/c", "a/up", "a/z.bin", "b.txt", "link")
    ]


def test_what_is_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipes and sockets are refused, and can be excluded."""
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(folder)  # the name of a socket is short
        server.bind("socket")
        with pytest.raises(InvalidArgument) as refused:
            scan([folder])
        assert refused.value.reason == "SPECIAL_FILE"
        assert "pipe" in refused.value.message
        assert "socket" in refused.value.message
        assert len(found(folder, exclude=("pipe", "socket"))) == 4


def test_names_that_no_artifact_has(folder: Path) -> None:
    """Other bytes than UTF-8, and names that are one in another composition."""
    odd = os.fsencode(folder) + b"/\xff"
    with open(odd, "wb"):
        pass
    with pytest.raises(InvalidArgument) as refused:
        scan([folder])
    assert (refused.value.reason, "not UTF-8" in refused.value.message) == ("FILE_NAME", True)
    os.unlink(odd)
    (folder / "caf\u00e9").write_text("")
    (folder / "cafe\u0301").write_text("")
    with pytest.raises(InvalidArgument, match="composed differently"):
        scan([folder])


def test_nothing(tmp_path: Path) -> None:
    """An artifact without files is a mistake."""
    with pytest.raises(InvalidArgument) as refused:
        scan([tmp_path])
    assert refused.value.reason == "NOTHING_TO_PUSH"
