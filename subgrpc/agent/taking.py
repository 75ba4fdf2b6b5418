"""Takes an output's files once: linked or copied to a folder of their own, where nothing changes.

    <task>/taken/NAME/SEQUENCE/    files/…, each under its path; `files.list`; `about`
    <task>/taken/NAME/last         what the last one consisted of

It appears under that name when it is complete. `files.list` has a line `SIZE MODE PATH` for each
file, by path, and `about` some `KEY=VALUE`; a NUL ends each, since paths may hold line breaks.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from . import patterns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FOLDER = "taken"
FILES = "files"
LIST = "files.list"
ABOUT = "about"
LAST = "last"
MAX_FILES = 200_000
MAX_PROBLEMS = 20
MAX_PATH = 4096
MAX_NAME = 255
OUTPUT_DIR = b"$SUBGRPC_OUTPUT_DIR/"

_PIECE = 16 << 20
_TRIES = 3
_UNSURE = b"-"
_RACY = 1_000_000_000
"""Nanoseconds: a file that changed so shortly before it was copied may have changed since, and
still have the same time."""


class TakeError(Exception):
    """An output cannot be taken as a whole."""


class OutOfTimeError(Exception):
    """There is no more time to take outputs in; raised by `tick`."""


class Source:
    """Where an output's files are looked for.

    Attributes:
        work: the task's working directory, for patterns.
        out: the folder $SUBGRPC_OUTPUT_DIR.
        private: where nobody writes but the task.
        linked: files of those folders, by device and inode, that were given another name by us.
    """

    def __init__(self, work: bytes, out: bytes, private: bytes) -> None:
        self.work = os.path.realpath(work)
        self.out = os.path.realpath(out)
        self.linked: set[tuple[int, int]] = set()
        self.private = (os.path.realpath(private) + b"/", self.out + b"/")


class Taking:
    """One output, taken once.

    Attributes:
        count: how many files it has.
    """

    def __init__(self, folder: str, name: str, sequence: int, final: bool) -> None:
        """`folder` is the task's; `final`: no process of the task is left."""
        home = os.fsencode(os.path.join(folder, FOLDER, name))
        self.count = 0
        self._sequence = sequence
        self._final = final
        self._target = os.path.join(home, b"%d" % sequence)
        self._half = os.path.join(home, b".%d" % sequence)
        self._last = os.path.join(home, LAST.encode())
        self._problems: list[str] = []
        self._more_problems = 0
        self._files: list[tuple[bytes, int, int]] = []
        self._size = 0
        self._before: dict[bytes, tuple[bytes, bytes]] = {}
        self._now: list[tuple[bytes, bytes]] = []
        self._made: set[bytes] = set()

    def take(self, source: Source, paths: Sequence[bytes], tick: Callable[[], None]) -> bool:
        """Takes the files; False if they are those that were taken the last time.

        `tick` is called again and again, and may raise.

        Raises:
            TakeError: there are too many.
            OSError: the disk is full, for example; nothing is left of it.
        """
        remove(self._half)
        try:
            found = self._find(source, paths, tick)
            self._read_last()
            os.makedirs(os.path.join(self._half, FILES.encode()), 0o700)
            for path in sorted(found):
                tick()
                self._take_one(path, found[path], source, tick)
            self.count = len(self._files)
            if not self._final and self._is_as_before():
                return False
            if self.count:
                self._complete()
            return True
        finally:
            remove(self._half)

    def told(self) -> list[str]:
        """What was left out and why."""
        more = [f"and {self._more_problems} more"] if self._more_problems else []
        return self._problems + more

    def _find(
        self, source: Source, paths: Sequence[bytes], tick: Callable[[], None]
    ) -> dict[bytes, bytes]:
        finder = patterns.Finder([source.work, source.out], self._leave_out)
        if not paths:
            name = os.path.basename(os.path.dirname(self._target))
            finder.add(os.path.join(source.out, name), b"", tick)
        for pattern in paths:
            if pattern.startswith(OUTPUT_DIR):
                finder.add(source.out, pattern[len(OUTPUT_DIR) :], tick)
            else:
                finder.add(source.work, pattern, tick)
        if len(finder.found) > MAX_FILES:
            text = f"it has {len(finder.found)} files, more than {MAX_FILES}: pack them together"
            raise TakeError(text)
        return self._with_good_names(finder.found)

    def _with_good_names(self, found: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """Leaves out what no artifact can name."""
        good: dict[bytes, bytes] = {}
        normal: set[str] = set()
        for path in sorted(found):
            try:
                text = path.decode()
            except UnicodeDecodeError:
                self._leave_out(path, "has a name that is not UTF-8")
                continue
            if not text.isascii():
                import unicodedata

                text = unicodedata.normalize("NFC", text)
            if text in normal:
                self._leave_out(path, "has the name of another file, with other code points")
            elif len(path) > MAX_PATH or any(len(p) > MAX_NAME for p in path.split(b"/")):
                self._leave_out(path, "has too long a path")
            else:
                normal.add(text)
                good[path] = found[path]
        return good

    def _leave_out(self, path: bytes, why: str) -> None:
        text = f"{path[:500].decode('utf-8', 'backslashreplace')}: {why}"
        if len(self._problems) < MAX_PROBLEMS - 1:
            self._problems += [] if text in self._problems else [text]
        else:
            self._more_problems += 1

    def _take_one(self, path: bytes, real: bytes, source: Source, tick: Callable[[], None]) -> None:
        target = os.path.join(self._half, FILES.encode(), path)
        for _ in range(_TRIES if self._final else 1):
            try:
                file = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                self._leave_out(path, os.strerror(error.errno or 0))
                return
            try:
                before = os.fstat(file)
                if not stat.S_ISREG(before.st_mode):
                    self._leave_out(path, "is no regular file")
                    return
                if not self._make_folder(path, target):
                    return
                mark = b"%d/%d/%d" % (before.st_ino, before.st_size, before.st_mtime_ns)
                steady = self._final and real.startswith(source.private)
                linked = source.linked if steady else None
                if not self._link(file, before, path, target, mark, linked):
                    copy(file, target, before.st_size, tick)
                if steady or _same(before, os.fstat(file)):
                    self._add(path, before, mark)
                    return
                os.unlink(target)
            finally:
                os.close(file)
        self._leave_out(path, "was being written")

    def _make_folder(self, path: bytes, target: bytes) -> bool:
        folder = os.path.dirname(target)
        if folder in self._made:
            return True
        try:
            os.makedirs(folder, 0o700, exist_ok=True)
            self._made.add(folder)
        except (FileExistsError, NotADirectoryError):
            self._leave_out(path, "stands where another file is a folder")
            return False
        return True

    def _link(
        self,
        file: int,
        status: os.stat_result,
        path: bytes,
        target: bytes,
        mark: bytes,
        linked: set[tuple[int, int]] | None,
    ) -> bool:
        """Makes the file a second name instead of a copy, where nobody will write to it."""
        key = status.st_dev, status.st_ino
        old, old_path = self._before.get(path, (b"", b""))
        if linked is not None and (status.st_nlink == 1 or key in linked):
            origin = b"/proc/self/fd/%d" % file
        elif old == mark:
            origin = old_path  # the copy that was made the last time, if it is still there
        else:
            return False
        try:
            # With a descriptor Python calls linkat(2), the only call that follows links.
            os.link(origin, target, src_dir_fd=file, follow_symlinks=True)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            return False  # another file system, or one without links
        if linked is not None:
            linked.add(key)
        return True

    def _add(self, path: bytes, status: os.stat_result, mark: bytes) -> None:
        self._files.append((path, status.st_size, stat.S_IMODE(status.st_mode) & 0o777))
        self._size += status.st_size
        racy = time.time_ns() - status.st_mtime_ns < _RACY
        self._now.append((path, _UNSURE if racy else mark))

    def _is_as_before(self) -> bool:
        now = dict(self._now)
        before = {path: mark for path, (mark, _) in self._before.items()}
        return now == before and _UNSURE not in now.values()

    def _read_last(self) -> None:
        """What the last one consisted of, and where it may still be."""
        try:
            with open(self._last, "rb") as file:
                fields = file.read().split(b"\0")
        except FileNotFoundError:
            return
        folder = os.path.join(os.path.dirname(self._last), fields[0], FILES.encode())
        for line in fields[1:-1]:
            mark, _, path = line.partition(b" ")
            self._before[path] = mark, os.path.join(folder, path)

    def _complete(self) -> None:
        lines = b"".join(b"%d %o %s\0" % (size, mode, path) for path, size, mode in self._files)
        _write(os.path.join(self._half, LIST.encode()), lines)
        about = {
            b"final": b"%d" % self._final,
            b"files": b"%d" % self.count,
            b"bytes": b"%d" % self._size,
            b"time": b"%d" % time.time_ns(),
        }
        fields = [key + b"=" + value for key, value in about.items()]
        fields += [b"problem=" + text.encode("utf-8", "replace") for text in self.told()]
        _write(os.path.join(self._half, ABOUT.encode()), b"\0".join(fields))
        os.rename(self._half, self._target)
        if not self._final:
            lines = b"".join(b"%s %s\0" % (mark, path) for path, mark in self._now)
            _write(self._last, b"%d\0%s" % (self._sequence, lines))


def copy(source: int, target: bytes, size: int, tick: Callable[[], None]) -> None:
    """Copies so many bytes of a file; the file system shares its blocks, where it can.

    No more, should it grow meanwhile: it might grow as fast as it is copied.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    made = os.open(target, flags, 0o600)
    try:
        os.lseek(source, 0, os.SEEK_SET)
        ranges = getattr(os, "copy_file_range", None)
        while size > 0:
            tick()
            piece = min(size, _PIECE)
            try:
                if ranges is not None:
                    count = ranges(source, made, piece)
                else:
                    count = os.sendfile(made, source, None, piece)
            except OSError as error:
                if ranges is None or error.errno not in _NO_RANGES:
                    raise
                ranges = None
                continue
            if not count:
                return
            size -= count
    finally:
        os.close(made)


_NO_RANGES = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)


def remove(folder: bytes) -> None:
    """Removes a folder that was half made, if there is one."""
    if os.path.lexists(folder):
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def _same(first: os.stat_result, second: os.stat_result) -> bool:
    return (first.st_size, first.st_mtime_ns) == (second.st_size, second.st_mtime_ns)


def _write(path: bytes, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
