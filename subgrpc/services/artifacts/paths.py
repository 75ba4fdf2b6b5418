"""The paths of an artifact's files: in order, and such that every file system can have all of them.

The list of an artifact can have millions of files and comes in parts. What a part has to be
compared with is therefore bounded: the last path, and which files it may turn out to be within.
Only whether paths differ by more than their Unicode normal form needs another look, at the end, and
only where there are such paths at all.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from subgrpc.validation import shown

MAX_PATH: Final = 4096
MAX_SEGMENT: Final = 255
"""In bytes of UTF-8."""
_WELL_FORMED: Final = re.compile(
    r"(?!\.{1,2}(?:/|\Z))[^/\0]+(?:/(?!\.{1,2}(?:/|\Z))[^/\0]+)*", re.DOTALL
)
Mistake = tuple[str, str]
"""A description, and the word for the rule."""


@dataclass(slots=True)
class Tail:
    """What has to be known of the files before, to go on with the list.

    Attributes:
        files: those that are the beginning of the last path's text, the shortest first; the last
            path itself is the last of them.
        normalised: there was a path that is not in normal form C.
    """

    files: list[str] = field(default_factory=list)
    normalised: bool = False

    @classmethod
    def read(cls, stored: bytes) -> Tail:
        """Reads what `stored` returned; empty: there are no files before."""
        if not stored:
            return cls()
        last, lengths, normalised = json.loads(stored)
        return cls([last[:length] for length in lengths], normalised)

    def stored(self) -> bytes:
        """The same as bytes: never empty."""
        last = self.files[-1] if self.files else ""
        return json.dumps([last, [len(each) for each in self.files], self.normalised]).encode()

    def add(self, path: str) -> Mistake | None:
        """Goes on with a path; returns what is wrong with it, and stays as it was then."""
        files = self.files
        if files and path <= files[-1]:
            return _out_of_order(path, files[-1])
        if mistake := malformed(path):
            return mistake
        depth = len(files)
        while depth and not path.startswith(files[depth - 1]):
            depth -= 1
        # Within shorter ones the last path was not, so neither is this one: it goes on alike.
        if depth and path[len(files[depth - 1])] == "/":
            return f"{shown(files[depth - 1])} is a file already, and no folder", "FILE_AND_FOLDER"
        files[depth:] = [path]
        if not path.isascii() and not unicodedata.is_normalized("NFC", path):
            self.normalised = True
        return None


def malformed(path: str) -> Mistake | None:
    """What is wrong with a path in itself."""
    # What is plain and short need not be measured: that is nearly everything.
    if _WELL_FORMED.fullmatch(path) and len(path) <= MAX_SEGMENT and path.isascii():
        return None
    if not path:
        return "must be set", "REQUIRED"
    size = len(path.encode())
    if size > MAX_PATH:
        return f"has {size} bytes; at most {MAX_PATH} are allowed", "TOO_LONG"
    if not _WELL_FORMED.fullmatch(path):
        text = (
            f"{shown(path)} is no path within an artifact: segments joined by /, none of them "
            'empty, "." or "..", without NUL, and no / first or last'
        )
        return text, "PATH"
    if max(len(each.encode()) for each in path.split("/")) > MAX_SEGMENT:
        return f"has a segment of more than {MAX_SEGMENT} bytes", "TOO_LONG"
    return None


def bad_link(path: str, target: str) -> str | None:
    """Why the file of that path must not be a link to a target; None: it may.

    `..` is allowed at its beginning only: there it leads to the real folders above the link,
    while behind the name of another link it could lead anywhere.
    """
    if "\0" in target or len(target.encode()) > MAX_PATH or target.startswith("/"):
        return f"must be relative, without NUL, and at most {MAX_PATH} bytes"
    segments = [each for each in target.split("/") if each not in ("", ".")]
    climbed = 0
    while climbed < len(segments) and segments[climbed] == "..":
        climbed += 1
    if ".." in segments[climbed:]:
        return f'{shown(target)} has ".." behind a name; it may only begin with it'
    if climbed > path.count("/"):
        return f"{shown(target)} leads out of the artifact"
    return None


class NormalForms:
    """Whether paths are still different, and files no folders, in Unicode normal form C.

    First every path is given to `note`, then every one to `collision`. Only those that are not in
    that form are remembered.
    """

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._all: set[str] = set()
        self._twice: set[str] = set()

    def note(self, path: str) -> None:
        """Remembers a path if it is in another form."""
        if path.isascii() or unicodedata.is_normalized("NFC", path):
            return
        normal = unicodedata.normalize("NFC", path)
        if normal in self._files:
            self._twice.add(normal)
        self._files.add(normal)
        self._all.update(_folders(normal), (normal,))

    def collision(self, path: str) -> Mistake | None:
        """What is wrong with a path beside all others."""
        if not self._files:
            return None
        normal = path if path.isascii() else unicodedata.normalize("NFC", path)
        within = next((each for each in _folders(normal) if each in self._files), None)
        if normal == path:
            collides = path in self._all or within is not None
        else:
            collides = normal in self._twice or within is not None
        if not collides:
            return None
        text = f"{shown(path)} is another file, or a folder, after Unicode normalisation (NFC)"
        return text, "SAME_PATH"


def first_collision(paths: Iterable[str], forms: NormalForms) -> Iterator[tuple[int, Mistake]]:
    """Which paths collide, by index; `forms` was given all of them."""
    for index, path in enumerate(paths):
        if mistake := forms.collision(path):
            yield index, mistake


def _folders(path: str) -> Iterator[str]:
    """What a path is within."""
    end = path.find("/")
    while end != -1:
        yield path[:end]
        end = path.find("/", end + 1)


def _out_of_order(path: str, last: str) -> Mistake:
    if path == last:
        return f"{shown(path)} is there already", "DUPLICATE"
    return f"{shown(path)} comes after {shown(last)}; files go by the bytes of their paths", "ORDER"
