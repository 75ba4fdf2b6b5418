"""The artifact store in a folder: a local disk, or one that is mounted on every server.

    FOLDER/objects/ab/abcd….01jc…     an object, under its key
    FOLDER/.incoming/01jc…            what is being put: no key begins with a dot

A put writes beside the objects, in the same file system, makes that durable and renames it: nobody
ever sees half an object, whenever the process is killed. Paths are walked from the folder's own
descriptor without following symbolic links, so that nothing outside it is ever touched.
"""

from __future__ import annotations

import contextlib
import os
import stat as modes
import time
from collections.abc import Generator, Iterator
from datetime import datetime, timedelta, timezone
from io import FileIO
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import unquote, urlsplit

from subgrpc.artifacts import failures
from subgrpc.artifacts.copying import copy, descriptor, opened
from subgrpc.artifacts.failures import os_errors
from subgrpc.artifacts.keys import check_key, check_prefix, check_range, is_key
from subgrpc.artifacts.store import ArtifactStore, StoredObject, StoreSettings
from subgrpc.names import new_uid

PIECE: Final = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_INSIDE = _FOLDER | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not block us
_INCOMING = ".incoming"


def folder_of(settings: StoreSettings) -> Path:
    """Returns the folder that a URL such as `file:///var/lib/artifacts` names.

    Raises:
        InvalidArgument: STORE_INVALID.
    """
    parts = urlsplit(settings.url)
    path = unquote(parts.path)
    ours = parts.scheme == "file" and parts.netloc in ("", "localhost")
    more = parts.query or parts.fragment or "\0" in path
    if not ours or not path.startswith("/") or more:
        # The URL is not repeated: somebody may have put a password into it.
        text = "its URL is not that of a folder, such as file:///var/lib/subgrpc/artifacts"
        raise failures.invalid(settings.name, text)
    return Path(path)


class FileStore(ArtifactStore):
    """Objects as files of a folder that is there already."""

    scheme: ClassVar[str] = "file"

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._folder = folder
        self._mounted = False
        self._durable: set[str] = set()
        """Folders whose own entries are on the disk."""

    @classmethod
    def from_settings(cls, settings: StoreSettings) -> FileStore:
        """Makes a store of a folder; there are no options."""
        for option in settings.options:
            raise failures.invalid(settings.name, f"a file store has no option {option!r}")
        return cls(settings.name, folder_of(settings))

    @property
    def name(self) -> str:
        """The store's name, as it was configured."""
        return self._name

    def put(self, key: str, source: Path, size: int, sha256: bytes, *, take: bool = False) -> None:
        """Copies a file to its place, or moves it there; the digest of what moves is believed."""
        folders, _, last = check_key(self._name, key).rpartition("/")
        if self._has(key, size):
            return
        with os_errors(self._name), self._root() as root, self._incoming(root) as incoming:
            with opened(self._name, key, source, size) as file:
                moved = self._move(file, source, incoming) if take else None
                temporary = moved or self._copy(key, file, size, sha256, incoming)
            try:
                with self._inside(root, folders, make=True) as folder:
                    os.rename(temporary, last, src_dir_fd=incoming, dst_dir_fd=folder)
                    os.fsync(folder)
            except BaseException:
                self._undo(temporary, incoming, source if moved else None)
                raise
        if take and not moved:
            source.unlink(missing_ok=True)

    def get(
        self, key: str, offset: int = 0, length: int | None = None
    ) -> Generator[bytes, None, None]:
        """Reads a file in pieces."""
        check_range(self._name, offset, length)
        with os_errors(self._name), self._object(key) as (file, found):
            end = found.size if length is None else min(found.size, offset + length)
            while offset < end:
                piece = os.pread(file, min(PIECE, end - offset), offset)
                if not piece:
                    text = f"it ends at byte {offset}, and had {found.size} bytes before"
                    raise failures.damaged(self._name, key, text)
                yield piece
                offset += len(piece)

    def stat(self, key: str) -> StoredObject | None:
        """Looks at a file's size and time."""
        folders, _, last = check_key(self._name, key).rpartition("/")
        with os_errors(self._name), self._root() as root:
            try:
                with self._inside(root, folders) as folder:
                    found = os.stat(last, dir_fd=folder, follow_symlinks=False)
                    return self._described(key, found)
            except FileNotFoundError:
                self._still_mounted(root)
                return None

    def delete(self, key: str) -> None:
        """Unlinks a file. If the machine goes down now it may come back, and is swept later."""
        folders, _, last = check_key(self._name, key).rpartition("/")
        with os_errors(self._name), self._root() as root:
            try:
                with self._inside(root, folders) as folder:
                    os.unlink(last, dir_fd=folder)
            except (FileNotFoundError, IsADirectoryError):
                self._still_mounted(root)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Walks the folders; one of which something vanishes meanwhile is no reason to stop."""
        folders, _, start = check_prefix(self._name, prefix).rpartition("/")
        with os_errors(self._name), self._root() as root:
            self._still_mounted(root)
            with contextlib.suppress(FileNotFoundError), self._inside(root, folders) as folder:
                yield from self._walk(folder, f"{folders}/" if folders else "", start)

    def abandoned(self, older_than: timedelta) -> int:
        """Removes what puts that were killed have left."""
        removed = 0
        with os_errors(self._name), self._root() as root, self._incoming(root) as incoming:
            latest = time.time() - older_than.total_seconds()
            for name in os.listdir(incoming):
                with contextlib.suppress(FileNotFoundError):
                    if os.stat(name, dir_fd=incoming, follow_symlinks=False).st_mtime <= latest:
                        os.unlink(name, dir_fd=incoming)
                        removed += 1
        return removed

    def close(self) -> None:
        """Nothing stays open between calls."""

    @contextlib.contextmanager
    def _root(self) -> Iterator[int]:
        """The folder itself, which may be a symbolic link."""
        with descriptor(self._folder, _FOLDER) as root:
            yield root

    @contextlib.contextmanager
    def _incoming(self, root: int) -> Iterator[int]:
        """The folder for what is being put. It marks a store: it is made in new ones only."""
        try:
            found = os.open(_INCOMING, _INSIDE, dir_fd=root)
        except FileNotFoundError:
            self._still_mounted(root)
            self._make(root, _INCOMING)
            found = os.open(_INCOMING, _INSIDE, dir_fd=root)
        self._mounted = True
        try:
            yield found
        finally:
            os.close(found)

    def _still_mounted(self, root: int) -> None:
        """An empty mount point has no objects, which does not mean that they are lost.

        Raises:
            FailedPrecondition: STORE_MISCONFIGURED: this is not the store that was here before.
        """
        before = self._mounted  # another thread may make it at this very moment
        try:
            os.stat(_INCOMING, dir_fd=root, follow_symlinks=False)
        except FileNotFoundError:
            if before:
                text = f"{self._folder} was a store, and is another folder now: is it mounted?"
                raise failures.misconfigured(self._name, text) from None
        else:
            self._mounted = True

    @contextlib.contextmanager
    def _inside(self, root: int, folders: str, *, make: bool = False) -> Iterator[int]:
        """A folder below the store's, which is made durably if wanted."""
        with contextlib.ExitStack() as stack:
            place, path = root, ""
            for name in folders.split("/") if folders else ():
                path = f"{path}/{name}"
                if make and path not in self._durable:
                    self._make(place, name)
                    self._durable.add(path)
                try:
                    place = stack.enter_context(descriptor(name, _INSIDE, place))
                except FileNotFoundError:
                    if not make:
                        raise
                    self._make(place, name)  # somebody has tidied up
                    place = stack.enter_context(descriptor(name, _INSIDE, place))
                except NotADirectoryError:
                    if make or not self._is_object(place, name):
                        raise
                    raise FileNotFoundError(name) from None  # nothing is below an object
            yield place

    def _is_object(self, place: int, name: str) -> bool:
        """Not a symbolic link, say."""
        return modes.S_ISREG(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode)

    def _make(self, place: int, name: str) -> None:
        """Makes a folder, or makes durable one whose maker may not have come so far."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=place)
        os.fsync(place)

    @contextlib.contextmanager
    def _object(self, key: str) -> Iterator[tuple[int, StoredObject]]:
        folders, _, last = check_key(self._name, key).rpartition("/")
        with contextlib.ExitStack() as stack:
            root = stack.enter_context(self._root())
            try:
                folder = stack.enter_context(self._inside(root, folders))
                file = stack.enter_context(descriptor(last, _READ, folder))
                found = self._described(key, os.fstat(file))
            except FileNotFoundError:
                self._still_mounted(root)
                raise failures.not_found(self._name, key) from None
            yield file, found

    def _has(self, key: str, size: int) -> bool:
        found = self.stat(key)
        if found is not None and found.size != size:
            raise failures.exists(self._name, key, found.size, size)
        return found is not None

    def _described(self, key: str, found: os.stat_result) -> StoredObject:
        if modes.S_ISDIR(found.st_mode):
            raise FileNotFoundError(key)
        if not modes.S_ISREG(found.st_mode):
            text = f"{self._folder / key} is no ordinary file; remove it"
            raise failures.misconfigured(self._name, text)
        time = datetime.fromtimestamp(found.st_mtime, timezone.utc)
        return StoredObject(key, found.st_size, time)

    def _move(self, file: FileIO, source: Path, incoming: int) -> str | None:
        """Moves a file into the store if it is one of the same file system, and nobody else's."""
        found, ours, temporary = os.fstat(file.fileno()), os.lstat(source), new_uid()
        if found.st_nlink != 1 or (ours.st_dev, ours.st_ino) != (found.st_dev, found.st_ino):
            return None
        try:
            os.rename(source, temporary, dst_dir_fd=incoming)
        except OSError:
            return None  # another file system, or a folder that is not ours: it is copied
        try:
            os.fchmod(file.fileno(), 0o600)
            os.utime(temporary, dir_fd=incoming)
            os.fsync(file.fileno())
        except BaseException:
            self._undo(temporary, incoming, source)
            raise
        return temporary

    def _copy(self, key: str, file: FileIO, size: int, sha256: bytes, incoming: int) -> str:
        """Copies a file to a temporary name, durably; returns that name."""
        temporary = new_uid()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with descriptor(temporary, flags, incoming) as target:
                written, digest = copy(self._name, key, file, target)
                kept = os.fstat(target).st_size
                os.fsync(target)
            if written != size or digest != sha256:
                text = f"is of {written} bytes, sha256 {digest.hex()}, not {size}, {sha256.hex()}"
                raise failures.mismatch(self._name, key, text)
            if kept != size:
                text = f"{kept} of {size} bytes were kept; it was removed"
                raise failures.damaged(self._name, key, text)
        except BaseException:
            self._undo(temporary, incoming, None)
            raise
        return temporary

    def _undo(self, temporary: str, incoming: int, source: Path | None) -> None:
        """Gives a file back that was moved; removes one that was copied."""
        with contextlib.suppress(OSError):
            if source is None:
                os.unlink(temporary, dir_fd=incoming)
            else:
                os.rename(temporary, source, src_dir_fd=incoming)

    def _walk(self, folder: int, path: str, start: str = "") -> Iterator[StoredObject]:
        for name in os.listdir(folder):
            if not name.startswith(start) or name.startswith("."):
                continue
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if modes.S_ISREG(found.st_mode) and is_key(f"{path}{name}"):
                    yield self._described(f"{path}{name}", found)
                elif modes.S_ISDIR(found.st_mode):
                    with descriptor(name, _INSIDE, folder) as inside:
                        yield from self._walk(inside, f"{path}{name}/")
