"""Where pulled files land: put together beside their target, then moved there in one step."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
import stat

from subgrpc.client.transfer import paths, refusals
from subgrpc.client.transfer.scan import OURS
from subgrpc.errors import FailedPrecondition

_AT_FDCWD = -100
_NOREPLACE, _EXCHANGE = 1, 2
_UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
"""What kernels and file systems say that do not know these flags."""


class Landing:
    """A target, and the folder beside it in which it is put together.

    That folder has a name that only depends on target and content: an interrupted pull finds it
    again. It belongs to one process at a time.

    A folder that cannot be exchanged for another, since it is a mount point, or must not, since the
    caller is in it, gets its files one after the other: they are put together within it.

    Args:
        target: the file or folder to make.
        content: says what it will be: the artifact's digest, and which part of it.
        is_file: whether the target is a file.
    """

    def __init__(self, target: str, content: str, *, is_file: bool) -> None:
        self.target = os.path.realpath(target)
        self.is_file = is_file
        self.parent, name = os.path.split(self.target)
        self.is_inside = not is_file and _stays(self.target)
        if self.is_inside:
            self.parent = self.target
        key = hashlib.sha256(f"{name}\0{content}".encode(errors="surrogateescape"))
        # The name's length is limited; a dot hides it from most eyes.
        self.folder = os.path.join(self.parent, f"{OURS}{key.hexdigest()[:32]}")
        self.files = os.path.join(self.folder, "files")
        """Where the files are put together."""
        self.is_taken_up = False
        self._lock = -1

    def is_free(self) -> bool:
        """Whether nothing is in the way: there is no target, or an empty folder."""
        if self.is_file or not os.path.isdir(self.target):
            return not os.path.lexists(self.target)
        return not self._others()

    def open(self) -> None:
        """Makes the folder, or takes up the one that an interrupted pull has left.

        Raises:
            FailedPrecondition: PULL_RUNNING: another process pulls the same.
            OSError: it cannot be made.
        """
        os.makedirs(self.parent, exist_ok=True)
        try:
            os.mkdir(self.folder, 0o700)
        except FileExistsError:
            self.is_taken_up = True
        found = os.lstat(self.folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise PermissionError(errno.EPERM, "it is somebody else's", self.folder)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._lock = os.open(os.path.join(self.folder, "lock"), flags, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = f"another process is pulling the same to {self.target}"
            raise FailedPrecondition(text, reason="PULL_RUNNING") from None
        os.makedirs(self.files, exist_ok=True)

    def close(self) -> None:
        """Leaves the folder to whoever takes it up."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def collision(self, names: list[str]) -> tuple[str, str] | None:
        """Two of some paths that are one to the file system here, though written differently."""
        seen = os.path.join(self.folder, "Probe-\u00e9")
        with open(seen, "wb"):
            ignores_case = os.path.lexists(os.path.join(self.folder, "pROBE-\u00e9"))
            normalises = os.path.lexists(os.path.join(self.folder, "Probe-e\u0301"))
        os.unlink(seen)
        if ignores_case:
            return paths.same(names, paths.caseless)
        return paths.same(names, paths.nfc) if normalises else None

    def need(self, size: int) -> None:
        """Complains if there is no room for so many bytes.

        Raises:
            ResourceExhausted: LOCAL_DISK_FULL.
        """
        found = os.statvfs(self.folder)
        free = found.f_bavail * found.f_frsize
        if size > free:
            text = f"{size} bytes are to come, and {free} are free"
            raise refusals.disk_full(self.parent, text)

    def commit(self, *, replace: bool) -> None:
        """Moves what was put together to where it belongs; what was there is removed.

        Raises:
            FailedPrecondition: TARGET_EXISTS: something is there, and `replace` is not set.
            OSError: it cannot be moved; everything is as it was.
        """
        made = os.path.join(self.files, os.listdir(self.files)[0]) if self.is_file else self.files
        if self.is_inside:
            self._fill(replace=replace)
        elif os.path.lexists(self.target) and not self.is_free():
            if not replace:
                raise self.exists()
            self._exchange(made)
        elif self.is_file:
            self._add(made)
        else:
            os.rename(made, self.target)  # over an empty folder too, and over nothing else
        self.close()
        _remove(self.folder)

    def exists(self) -> FailedPrecondition:
        """The error that something is where the target belongs."""
        text = f"{self.target} exists, with other content; --force replaces it"
        return FailedPrecondition(text, reason="TARGET_EXISTS")

    def _others(self) -> list[str]:
        """What is in the target, but for what is ours or every file system's."""
        own = (os.path.basename(self.folder), "lost+found")
        return [each for each in os.listdir(self.target) if each not in own]

    def _fill(self, *, replace: bool) -> None:
        """Moves what was made into the target, and what is there out of the way."""
        before = os.path.join(self.folder, "before")
        if (others := self._others()) and not replace:
            raise self.exists()
        os.makedirs(before, exist_ok=True)
        moves = [(self.target, before, each) for each in others]
        moves += [(self.files, self.target, each) for each in os.listdir(self.files)]
        done: list[tuple[str, str, str]] = []
        try:
            for move in moves:
                source, target, name = move
                os.rename(os.path.join(source, name), os.path.join(target, name))
                done.append(move)
        except OSError:
            for source, target, name in reversed(done):
                os.rename(os.path.join(target, name), os.path.join(source, name))
            raise

    def _add(self, made: str) -> None:
        if _rename(made, self.target, _NOREPLACE):
            return
        try:
            os.link(made, self.target)
        except FileExistsError:
            raise self.exists() from None

    def _exchange(self, made: str) -> None:
        if _rename(made, self.target, _EXCHANGE):
            return
        aside = os.path.join(self.folder, "before")
        os.rename(self.target, aside)
        try:
            os.rename(made, self.target)
        except OSError:
            os.rename(aside, self.target)
            raise


def _stays(folder: str) -> bool:
    """Whether a folder is one that cannot, or must not, be exchanged for another."""
    if not os.path.isdir(folder):
        return False
    try:
        return os.path.ismount(folder) or os.path.samefile(folder, os.getcwd())
    except OSError:  # the folder that the caller is in was removed
        return os.path.ismount(folder)


def _rename(source: str, target: str, flags: int) -> bool:
    """Linux' renameat2; false: this system does not have it."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    if number == errno.EEXIST:
        text = f"{target} exists, with other content; --force replaces it"
        raise FailedPrecondition(text, reason="TARGET_EXISTS")
    raise OSError(number, os.strerror(number), target)


def _remove(folder: str) -> None:
    """Removes a folder with what is in it, also what nobody may write to."""

    def allow(function: object, path: str, _: object) -> None:
        os.chmod(os.path.dirname(path), 0o700)
        if os.path.isdir(path) and not os.path.islink(path):
            os.chmod(path, 0o700)
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)

    shutil.rmtree(folder, onerror=allow)
