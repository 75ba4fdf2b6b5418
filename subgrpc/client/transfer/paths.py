"""Paths of files within an artifact: which are allowed, and where links lead."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Iterable, Mapping

_LONGEST_PATH, _LONGEST_SEGMENT = 4096, 255
_MOST_LINKS = 40
"""As many as Linux follows in one path."""


def mistake(path: str) -> str:
    """What is wrong with a path; empty: nothing."""
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "is not UTF-8"
    segments = path.split("/")
    if "\0" in path:
        return "has a NUL character"
    if not all(segments) or "." in segments or ".." in segments:
        return "has an empty segment, or one that is . or .."
    if len(encoded) > _LONGEST_PATH:
        return f"is longer than {_LONGEST_PATH} bytes"
    if any(len(each.encode()) > _LONGEST_SEGMENT for each in segments):
        return f"has a segment of more than {_LONGEST_SEGMENT} bytes"
    return ""


def leaves(path: str, links: Mapping[str, str]) -> bool:
    """Whether a link leads out of the artifact, or in a circle.

    Every step is taken as the operating system would: a `..` behind a link goes up from where that
    link leads. What a link leads to need not exist.

    Args:
        path: the link's path.
        links: the target of each link of the artifact, by its path.
    """
    here = path.split("/")[:-1]
    ahead = links[path].split("/")[::-1]
    followed = 1
    if links[path].startswith("/"):
        return True
    while ahead:
        segment = ahead.pop()
        if segment in ("", "."):
            continue
        if segment == "..":
            if not here:
                return True
            here.pop()
            continue
        here.append(segment)
        target = links.get("/".join(here))
        if target is None:
            continue
        followed += 1
        if target.startswith("/") or followed > _MOST_LINKS:
            return True
        here.pop()
        ahead += target.split("/")[::-1]
    return False


def climbs(target: str) -> bool:
    """Whether a link goes up behind a name: an artifact's may only begin with it."""
    segments = [each for each in target.split("/") if each not in ("", ".")]
    return any(each == ".." and before != ".." for before, each in itertools.pairwise(segments))


def nfc(path: str) -> str:
    """The form in which paths are compared for being equal."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def caseless(path: str) -> str:
    """The form in which file systems that ignore case compare names."""
    return nfc(nfc(path).casefold())


def same(paths: Iterable[str], form: Callable[[str], str]) -> tuple[str, str] | None:
    """Two paths, folders included, that are one in some form though written differently."""
    seen: dict[str, str] = {}
    for path in paths:
        # Folders that were met before need not be looked at again.
        end = len(path)
        while end > 0:
            part = path[:end]
            shape = form(part)
            other = seen.get(shape)
            if other is not None:
                if other != part:
                    return other, part
                break
            seen[shape] = part
            end = path.rfind("/", 0, end)
    return None
