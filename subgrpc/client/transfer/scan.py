"""What is in the files and folders that are to be pushed, without reading any of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from subgrpc.client.transfer import paths, refusals
from subgrpc.errors import FieldViolation, InvalidArgument

IGNORE_FILE = ".subgrpcignore"
"""Patterns of what is not pushed, as in .gitignore; it is not pushed itself."""

OURS = ".subgrpc-pull-"
"""How the folder of a pull that was interrupted begins: it is nobody's content."""

_Excluded = Callable[[str], bool]


class LocalFile(NamedTuple):
    """A file to push.

    Attributes:
        path: its path in the artifact.
        source: where it is.
        size: in bytes.
        mode: its permission bits.
        mtime: in nanoseconds: with size and inode it tells whether it was changed.
        inode: its number.
        link_target: of a symbolic link: where to.
    """

    path: str
    source: str
    size: int
    mode: int
    mtime: int
    inode: int
    link_target: str = ""

    def is_unchanged(self, now: os.stat_result) -> bool:
        """Whether a file is as it was when it was found."""
        return (now.st_size, now.st_mtime_ns, now.st_ino) == (self.size, self.mtime, self.inode)


def scan(sources: Sequence[str | os.PathLike[str]], exclude: Iterable[str] = ()) -> list[LocalFile]:
    """Returns the files in some files and folders, by their path in the artifact.

    The content of one folder stands at the artifact's root; one file has its own name; each of
    several has its name, and what is in it stands below that. Folders without files leave no
    trace. Links stay links.

    Args:
        sources: the files and folders.
        exclude: patterns as in .gitignore, beside those of `IGNORE_FILE` at a folder's root.

    Raises:
        InvalidArgument: LINK_OUTSIDE, SPECIAL_FILE, FILE_NAME, NOTHING_TO_PUSH; a field violation
            for a path that is given twice or a pattern that cannot be read.
        OSError: something cannot be read.
    """
    patterns = list(exclude)
    found: list[LocalFile] = []
    roots: dict[str, str] = {}
    for source in [os.fspath(each) for each in sources]:
        name = os.path.basename(os.path.abspath(source))
        if name in roots:
            text = f"{source} and {roots[name]} would both be {name} in the artifact"
            raise InvalidArgument(violations=[FieldViolation("paths", text)])
        roots[name] = source
        if os.path.isdir(source):
            found += _folder(source, f"{name}/" if len(sources) > 1 else "", patterns)
        else:
            found.append(_file(name, source, os.stat(source)))
    found.sort()  # code points have the order of their UTF-8 bytes
    _check(found)
    return found


def _folder(root: str, prefix: str, exclude: list[str]) -> Iterator[LocalFile]:
    excluded = _excluded(root, exclude)
    ahead = [("", root)]
    while ahead:
        base, folder = ahead.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                path = f"{base}{entry.name}"
                is_folder = entry.is_dir(follow_symlinks=False)
                if is_folder and entry.name.startswith(OURS):
                    continue
                if excluded is not None and excluded(f"{path}/" if is_folder else path):
                    continue
                if is_folder:
                    ahead.append((f"{path}/", entry.path))
                elif path != IGNORE_FILE:
                    status = entry.stat(follow_symlinks=False)
                    yield _file(prefix + path, entry.path, status)


def _file(path: str, source: str, status: os.stat_result) -> LocalFile:
    mode = status.st_mode
    if stat.S_ISLNK(mode):
        return LocalFile(path, source, 0, 0, 0, 0, os.readlink(source))
    bits = stat.S_IMODE(mode) & 0o777 if stat.S_ISREG(mode) else -1
    return LocalFile(path, source, status.st_size, bits, status.st_mtime_ns, status.st_ino)


def _excluded(root: str, exclude: list[str]) -> _Excluded | None:
    lines = []
    own = os.path.join(root, IGNORE_FILE)
    if os.path.isfile(own):
        with open(own, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    lines += exclude
    if not lines:
        return None
    from pathspec import GitIgnoreSpec  # only here: few folders have patterns

    try:
        return GitIgnoreSpec.from_lines(lines).match_file
    except ValueError as error:
        text = f"a pattern cannot be read: {error}"
        raise InvalidArgument(violations=[FieldViolation("exclude", text)]) from error


def _mistake(found: LocalFile) -> str:
    why = paths.mistake(found.path)
    if not why and found.link_target and paths.mistake(found.link_target) == "is not UTF-8":
        return "leads to a name that is not UTF-8"
    return why


def _check(found: list[LocalFile]) -> None:
    if not found:
        text = "there is no file to push: folders without files leave no trace"
        raise InvalidArgument(text, reason="NOTHING_TO_PUSH")
    wrong = [f"{each.source!a} {why}" for each in found if (why := _mistake(each))]
    if wrong:
        raise refusals.several("names that an artifact cannot have", wrong, "FILE_NAME")
    if special := [each.source for each in found if each.mode < 0]:
        text = "only files, folders and links can be pushed; exclude"
        raise refusals.several(text, special, "SPECIAL_FILE")
    links = {each.path: each.link_target for each in found if each.link_target}
    outside = [
        f"{each.source} -> {each.link_target}"
        for each in found
        if each.link_target and (paths.climbs(each.link_target) or paths.leaves(each.path, links))
    ]
    if outside:
        text = (
            'links that lead out of what is pushed, or have ".." behind a name; exclude them, or '
            "copy what they lead to"
        )
        raise refusals.several(text, outside, "LINK_OUTSIDE")
    if double := paths.same((each.path for each in found), paths.nfc):
        text = f"{double[0]!a} and {double[1]!a} are the same name, composed differently"
        raise refusals.several("names that an artifact cannot have", [text], "FILE_NAME")
