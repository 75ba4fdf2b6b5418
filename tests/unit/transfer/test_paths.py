"""Paths and links of artifacts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subgrpc.client.transfer import paths

NAMES = st.sampled_from(["a", "b", "c"])
TARGETS = st.lists(st.sampled_from(["..", ".", "a", "b", "c"]), min_size=1, max_size=5)


@pytest.mark.parametrize(
    "path",
    ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a\0b", "x" * 256, "é" * 128],
)
def test_what_is_no_path(path: str) -> None:
    """Nothing that would lead out of a folder, or that no file system takes."""
    assert paths.mistake(path)


@pytest.mark.parametrize("path", ["a", "a/b", "...", "a..b", "-", "a b", "é" * 127, "\n"])
def test_what_is_a_path(path: str) -> None:
    """Whatever a file can be called."""
    assert paths.mistake(path) == ""


def test_long_and_foreign_paths() -> None:
    """4,096 bytes, not characters; and UTF-8."""
    assert paths.mistake("/".join(["abc"] * 1024)) == ""
    assert paths.mistake("/".join(["abc"] * 1024) + "d" * 2)
    assert paths.mistake("\udcff") == "is not UTF-8"


@given(st.dictionaries(st.lists(NAMES, min_size=1, max_size=4).map("/".join), TARGETS, max_size=6))
def test_links_lead_where_the_system_says(
    tmp_path_factory: pytest.TempPathFactory, wanted: dict[str, list[str]]
) -> None:
    """A link that is said to stay inside does, followed by the operating system itself."""
    links = {
        path: "/".join(target)
        for path, target in wanted.items()
        # No link is a folder of another one: such an artifact cannot be.
        if not any(path.startswith(f"{other}/") for other in wanted)
    }
    root = tmp_path_factory.mktemp("links") / "x" / "y" / "z" / "root"
    for path, target in links.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    for path in links:
        if paths.leaves(path, links):
            continue
        # What leads to nowhere leads, as far as it goes, to a place inside.
        real = Path(os.path.realpath(root / path))
        assert real == root.resolve() or root.resolve() in real.parents, (path, links)


@pytest.mark.parametrize(
    ("links", "path"),
    [
        ({"a": "/etc/passwd"}, "a"),
        ({"a": "../b"}, "a"),
        ({"a/b": "../../c"}, "a/b"),
        ({"a": "a"}, "a"),
        ({"a": "b", "b": "a"}, "a"),
        # As text it stays inside; followed, it does not.
        ({"x/y/s": "../..", "l": "x/y/s/../.."}, "l"),
        ({"a": "b/../../..", "b": "c/d"}, "a"),
    ],
)
def test_links_that_leave(links: dict[str, str], path: str) -> None:
    """Out of the artifact, also behind another link, or in circles."""
    assert paths.leaves(path, links)


def test_links_that_stay() -> None:
    """To files, to folders, to nowhere, up and down again."""
    links = {"a": "b", "c/d": "../e/f", "g/h/i": "..", "j": "g/h/i/k"}
    assert not any(paths.leaves(each, links) for each in links)


def test_names_that_are_one() -> None:
    """Composed differently, or in another case; of folders too."""
    assert paths.same(["a/b", "a/c"], paths.nfc) is None
    assert paths.same(["caf\u00e9/x", "cafe\u0301/y"], paths.nfc) == ("caf\u00e9", "cafe\u0301")
    assert paths.same(["README", "readme"], paths.nfc) is None
    assert paths.same(["README", "readme"], paths.caseless) == ("README", "readme")
    assert paths.same(["A/x", "B/y", "a/z"], paths.caseless) == ("A", "a")
    assert paths.same(["straße", "STRASSE"], paths.caseless) == ("straße", "STRASSE")
