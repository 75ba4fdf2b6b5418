"""Finds the files that an output's patterns mean: `*`, `?`, `**`, and folders as a whole.

Links are followed to what stands within the task's own folders, never out of them, and those to
folders only where a pattern names them. What is no regular file is told, not opened.
"""

from __future__ import annotations

import errno
import os
import re
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Tuple

    Step = Tuple[bytes, Tuple[bytes, ...]]
    """A path below the folder that is searched, and the parts of the pattern that go on there."""

_ALL = b"**"


class Finder:
    """Finds files, pattern by pattern.

    Attributes:
        found: the real path of each file, by its path below the folder that it was found in.
    """

    def __init__(self, roots: Sequence[bytes], problem: Callable[[bytes, str], None]) -> None:
        """`roots` are the folders that links may lead to; `problem` is told what is left out."""
        self.found: dict[bytes, bytes] = {}
        self._roots = tuple(os.path.realpath(root) for root in roots)
        self._problem = problem
        self._folders: dict[bytes, bool] = {}

    def add(self, folder: bytes, pattern: bytes, tick: Callable[[], None]) -> None:
        """Adds the files below a folder that match; those that were found before stay.

        `tick` is called for each folder that is looked into, and may raise.
        """
        parts = tuple(part for part in pattern.split(b"/") if part not in (b"", b"."))
        seen: set[Step] = set()
        waiting: list[Step] = [(b"", parts or (_ALL,))]
        while waiting:
            step = waiting.pop()
            if step not in seen:
                seen.add(step)
                tick()
                waiting.extend(self._follow(folder, *step))

    def _follow(self, folder: bytes, path: bytes, parts: tuple[bytes, ...]) -> Iterator[Step]:
        """Takes a pattern a part further; yields what is to be looked into next."""
        head, rest = parts[0], parts[1:]
        if head == _ALL:
            yield from self._walk(folder, path, rest)
        elif b"*" in head or b"?" in head:
            matches = _compile(head)
            for entry in self._entries(folder, path):
                if matches(entry.name):
                    yield from self._enter(folder, os.path.join(path, entry.name), rest, False)
        else:
            yield from self._enter(folder, os.path.join(path, head), rest, True)

    def _walk(self, folder: bytes, path: bytes, rest: tuple[bytes, ...]) -> Iterator[Step]:
        """`**`: this folder and all below it."""
        if rest:
            yield path, rest
        for entry in self._entries(folder, path):
            below = os.path.join(path, entry.name)
            if entry.is_dir(follow_symlinks=False):
                yield below, (_ALL, *rest)
            elif not rest:
                self._look(entry.path, below)

    def _enter(
        self, folder: bytes, path: bytes, rest: tuple[bytes, ...], named: bool
    ) -> Iterator[Step]:
        """Goes on at a path that matches; `named`: the pattern has its name as it is."""
        place = os.path.join(folder, path)
        may_follow = bool(rest) or named or not os.path.islink(place)
        if may_follow and os.path.isdir(place) and self._is_inside(place):
            yield path, rest or (_ALL,)
        elif not rest and os.path.lexists(place):
            self._look(place, path)

    def _look(self, place: bytes, path: bytes) -> None:
        """Takes note of a file, or of why it is left out."""
        real = place
        try:
            mode = os.lstat(place).st_mode
            if stat.S_ISLNK(mode):
                real = os.path.realpath(place)
                mode = os.stat(real).st_mode
        except OSError as error:
            self._problem(path, os.strerror(error.errno or 0))
            return
        inside = self._holds(os.path.dirname(real)) if real == place else self._is_inside(real)
        if not inside:
            self._problem(path, "is a link that leads out of the task's folders")
        elif stat.S_ISREG(mode):
            self.found.setdefault(path, real)
        else:
            self._problem(path, "is a link to a folder" if real != place else "is no regular file")

    def _holds(self, folder: bytes) -> bool:
        """As `_is_inside`, for folders: asked for each of many files in one."""
        if folder not in self._folders:
            self._folders[folder] = self._is_inside(folder)
        return self._folders[folder]

    def _is_inside(self, place: bytes) -> bool:
        real = os.path.realpath(place)
        return any(real == root or real.startswith(root + b"/") for root in self._roots)

    def _entries(self, folder: bytes, path: bytes) -> list[os.DirEntry[bytes]]:
        """What is in a folder; nothing if there is none."""
        try:
            with os.scandir(os.path.join(folder, path)) as found:
                return list(found)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                self._problem(path, os.strerror(error.errno or 0))
            return []


def _compile(part: bytes) -> Callable[[bytes], object]:
    words = {b"*": rb".*", b"?": rb"."}
    pieces = [words.get(each) or re.escape(each) for each in re.split(rb"([*?])", part)]
    return re.compile(b"".join(pieces), re.DOTALL).fullmatch
