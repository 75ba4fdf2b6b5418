"""Which files an output's patterns find: compared with a plain reading of them, and with tricks."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subgrpc.agent.patterns import Finder

NAMES = st.sampled_from(["a", "b", "ab", ".a", "a.pt", "b.pt"])
PARTS = st.sampled_from(["a", "b", "*", "?", "**", "a*", "*.pt", "?b", "."])


def find(folder: Path, *patterns: str, roots: tuple[Path, ...] = ()) -> tuple[list[str], list[str]]:
    """The paths that are found, and the problems."""
    problems: list[str] = []
    finder = Finder(
        [os.fsencode(each) for each in (folder, *roots)],
        lambda path, why: problems.append(f"{os.fsdecode(path)} {why}"),
    )
    for pattern in patterns:
        finder.add(os.fsencode(folder), pattern.encode(), lambda: None)
    return sorted(map(os.fsdecode, finder.found)), sorted(problems)


def make(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)


def plain_reading(paths: set[str], pattern: str) -> set[str]:
    """The same by a regular expression over all paths; a folder means what is in it."""
    parts = [part for part in pattern.split("/") if part != "."]
    texts = [
        "(?:.*/)?"
        if part == "**"
        else re.escape(part).replace(r"\*", "[^/]*").replace(r"\?", "[^/]") + "/"
        for part in parts
    ]
    if parts[-1:] == ["**"]:
        texts[-1] = "[^/]+/"  # what is in a folder, not a file of that name
    compiled = re.compile("".join(texts) + "(?:.*/)?")
    return {path for path in paths if any(compiled.fullmatch(f"{up}/") for up in uppers(path))}


def uppers(path: str) -> list[str]:
    """The path and the folders above it."""
    parts = path.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


@given(
    tree=st.sets(st.lists(NAMES, min_size=1, max_size=4).map("/".join), max_size=8),
    pattern=st.lists(PARTS, min_size=1, max_size=4).map("/".join),
)
def test_a_pattern_means_what_it_says(tree: set[str], pattern: str) -> None:
    """Any pattern in any tree finds what a regular expression over all paths does."""
    files = {path for path in tree if not any(f"{path}/" in f"{o}/" and o != path for o in tree)}
    files = {path for path in files if not any(o.startswith(f"{path}/") for o in tree)}
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), *files)
        found, problems = find(Path(name), pattern)
    assert set(found) == plain_reading(files, pattern)
    assert problems == []


def test_nothing_outside_is_found(tmp_path: Path) -> None:
    """Links out of the folder, of files and of folders, are told and not followed."""
    make(tmp_path, "in/f", "out/secret", "out/more/secret")
    (tmp_path / "in" / "file").symlink_to(tmp_path / "out" / "secret")
    (tmp_path / "in" / "up").symlink_to("..")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "out")
    for pattern in ("**", "*", "folder/**", "folder/secret", "folder", "*/secret", "up/out/secret"):
        found, problems = find(tmp_path / "in", pattern)
        assert set(found) <= {"f"}, pattern
        assert all("leads out" in each or "link to a folder" in each for each in problems)
    assert len(find(tmp_path / "in", "**")[1]) == 3


def test_links_within_the_folder(tmp_path: Path) -> None:
    """To files: followed. To folders: only where they are named, and never in a circle."""
    make(tmp_path, "run-1/model", "run-1/log")
    (tmp_path / "best").symlink_to("run-1/model")
    (tmp_path / "latest").symlink_to("run-1")
    (tmp_path / "run-1" / "loop").symlink_to("..")
    assert find(tmp_path, "best")[0] == ["best"]
    assert find(tmp_path, "latest")[0] == ["latest/log", "latest/model"]
    assert find(tmp_path, "latest/model")[0] == ["latest/model"]
    found, problems = find(tmp_path, "**")
    assert found == ["best", "run-1/log", "run-1/model"]
    assert problems == ["latest is a link to a folder", "run-1/loop is a link to a folder"]


def test_what_is_no_regular_file_is_told(tmp_path: Path) -> None:
    """Pipes are not opened: that would wait for ever. Dangling links are told."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to("nowhere")
    assert find(tmp_path, "*") == (
        [],
        ["gone No such file or directory", "pipe is no regular file"],
    )


def test_what_is_not_there_is_no_problem(tmp_path: Path) -> None:
    """Nor is a file in the place of a folder."""
    make(tmp_path, "f")
    assert find(tmp_path, "nope", "nope/*", "f/x", "f/**", "f/*")[1] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """It is not silently left out."""
    make(tmp_path, "shut/f")
    (tmp_path / "shut").chmod(0)
    try:
        assert find(tmp_path, "**") == ([], ["shut Permission denied"])
    finally:
        (tmp_path / "shut").chmod(0o700)
