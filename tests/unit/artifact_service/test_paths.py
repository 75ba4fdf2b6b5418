"""Paths of files: what cannot be is refused, wherever a list is cut, and links stay inside."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subgrpc.services.artifacts.files import colliding
from subgrpc.services.artifacts.paths import NormalForms, Tail, bad_link, malformed

# Few letters, so that paths meet: é in both forms, and what sorts before and after "/".
LETTERS = ["a", "b", ".", "-", "0", "é", "e\u0301", "e", "\u0301", "ä", "\U0001f600"]
SEGMENTS = st.lists(st.sampled_from(LETTERS), min_size=1, max_size=3).map("".join)
PATHS = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)


def within(path: str, folder: str) -> bool:
    return path.startswith(folder + "/")


def refused(path: str, before: list[str]) -> bool:
    """Whether a path cannot follow others: what `Tail` promises, looked at one by one."""
    segments = path.split("/")
    return (
        any(each in ("", ".", "..") for each in segments)
        or (bool(before) and path.encode() <= before[-1].encode())
        or any(within(path, each) for each in before)
    )


@given(st.lists(PATHS, max_size=30), st.data())
def test_any_list_is_judged_as_path_by_path_wherever_it_is_cut(
    paths: list[str], data: st.DataObject
) -> None:
    """Order, files that are folders and bad segments: with the tail stored anywhere in between."""
    paths = sorted(paths) if data.draw(st.booleans()) else paths
    tail, taken = Tail(), list[str]()
    for path in paths:
        wrong = tail.add(path) is not None
        assert wrong == refused(path, taken), (path, taken)
        if not wrong:
            taken.append(path)
        if data.draw(st.booleans()):
            tail = Tail.read(tail.stored())
    assert tail.normalised == any(not unicodedata.is_normalized("NFC", each) for each in taken)


@given(st.sets(PATHS, max_size=30))
def test_paths_that_normalisation_makes_one_are_found(paths: set[str]) -> None:
    """Equal files, and files that are folders of others, in normal form C."""
    tail = Tail()
    taken = [each for each in sorted(paths) if tail.add(each) is None]
    normal = [unicodedata.normalize("NFC", each) for each in taken]
    clash = any(
        one == other or within(one, other) or within(other, one)
        for index, one in enumerate(normal)
        for other in normal[:index]
    )
    assert bool(list(colliding(taken))) == clash
    if not tail.normalised:
        assert not clash


def test_a_collision_names_the_path() -> None:
    """Both forms of a letter are one file where file systems normalise."""
    forms = NormalForms()
    for path in ("e\u0301", "\u00e9"):
        forms.note(path)
    mistake = forms.collision("\u00e9")
    assert mistake is not None
    assert mistake[1] == "SAME_PATH"
    assert "'é'" in mistake[0]


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("", "REQUIRED"),
        ("/a", "PATH"),
        ("a/", "PATH"),
        ("a//b", "PATH"),
        ("./a", "PATH"),
        ("a/../b", "PATH"),
        ("..", "PATH"),
        ("a\0b", "PATH"),
        ("a" * 256, "TOO_LONG"),
        ("ä" * 128, "TOO_LONG"),
        ("a/" * 2048 + "a", "TOO_LONG"),
    ],
)
def test_what_is_no_path_is_refused(path: str, rule: str) -> None:
    """With the rule that it breaks."""
    mistake = malformed(path)
    assert mistake is not None
    assert mistake[1] == rule


@pytest.mark.parametrize(
    "path", ["a", "..a", "a..", "...", ".hidden/x", "a b\n", "..\n", "a" * 255, "ä" * 127, "a\\b"]
)
def test_what_only_looks_odd_is_taken(path: str) -> None:
    """Any segment of other bytes than / and NUL."""
    assert malformed(path) is None


def test_a_tail_stays_small_with_paths_that_begin_alike() -> None:
    """Of 4,000 files that are each the beginning of the next: a fraction of their text."""
    tail = Tail()
    segments = ["a" * (index % 200 + 1) for index in range(200)]
    for path in sorted(segments):
        tail.add(path)
    assert len(tail.stored()) < 2_000
    assert Tail.read(tail.stored()) == tail
    assert Tail.read(b"") == Tail()


TREE = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3).map("/".join)
TARGETS = st.lists(st.sampled_from(["..", ".", "", "a", "b", "c", "d"]), min_size=1, max_size=5)


@given(st.dictionaries(TREE, TARGETS.map("/".join), max_size=6), st.sets(TREE, max_size=4))
def test_no_link_leads_out_whatever_other_links_there_are(
    links: dict[str, str], folders: set[str]
) -> None:
    """Promise: links that are taken, made in a real folder, all stay within it."""
    tail, made = Tail(), dict[str, str]()
    for path in sorted(links):
        if links[path] and bad_link(path, links[path]) is None and tail.add(path) is None:
            made[path] = links[path]
    with tempfile.TemporaryDirectory() as outside:
        root = Path(outside, "root").resolve()
        root.mkdir()
        for path, target in made.items():
            Path(root, path).parent.mkdir(parents=True, exist_ok=True)
            Path(root, path).symlink_to(target)
        for folder in folders:
            if not any(folder == path or within(folder, path) for path in made):
                Path(root, folder).mkdir(parents=True, exist_ok=True)
        for path in made:
            with contextlib.suppress(FileNotFoundError):
                try:
                    Path(root, path).stat()
                except OSError as error:
                    if error.errno == errno.ELOOP:
                        continue  # It leads nowhere: to itself.
                    raise
            real = os.path.realpath(Path(root, path))
            assert real == str(root) or real.startswith(f"{root}/"), (path, made)


@pytest.mark.parametrize(
    ("path", "target", "fine"),
    [
        ("a", "b", True),
        ("a/b", "../c", True),
        ("a/b", "./../c//d/", True),
        ("a", "..", False),
        ("a/b", "../../c", False),
        ("a", "/etc/passwd", False),
        ("a", "b/../c", False),
        ("a", "b\0", False),
        ("a", "b" * 4097, False),
    ],
)
def test_links_are_relative_and_lead_inside(path: str, target: str, fine: bool) -> None:
    """`..` only at the beginning, and not beyond the root."""
    assert (bad_link(path, target) is None) == fine
