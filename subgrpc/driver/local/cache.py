"""Inputs that this host has: each once, by the digest of its files, verified when it came.

inputs/<digest>/files/…   its files, which may not be written to
inputs/<digest>/index     a line `SIZE MTIME PATH` for each, each ended by a NUL
inputs/.<digest>.lock     held while it is made, by whichever process
inputs/.<digest>.half     on its way; never looked at

A run gets files that share blocks with these where the file system can do that, else names of the
same files (hard links). So what a run has needs no space of its own and outlives the cache's entry.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from subgrpc import faults
from subgrpc.agent import taking
from subgrpc.driver import FilePiece, InputContent, InputFile, WorkloadInput
from subgrpc.driver.local.folders import remove_tree
from subgrpc.errors import DataLoss, Unavailable

FOLDER = "inputs"
FRESH = 60.0
"""Seconds for which an entry stays after it was used: its run is about to have it."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FICLONE = 0x40049409
_LOOK = 0.1
_PIECE = 1 << 20
_AT_ONCE = 4 << 20
"""Bytes that are written at once."""


class InputCache:
    """The folder of inputs."""

    def __init__(self, root: Path, limit: int) -> None:
        """`limit`: bytes that files may need which no run has."""
        self._root = root / FOLDER
        self._limit = limit

    def has(self, digest: str) -> bool:
        """Whether an entry is there, as a whole."""
        return _DIGEST.fullmatch(digest) is not None and self._index(digest).is_file()

    async def put(self, wanted: WorkloadInput, content: InputContent) -> None:
        """Makes an entry, unless it is there.

        Raises:
            DataLoss: INPUT_DAMAGED.
            OSError: the disk is full, for example; nothing is left.
        """
        if not _DIGEST.fullmatch(wanted.digest):
            raise DataLoss(f"{wanted.digest!r} is no digest", reason="INPUT_DAMAGED")
        self._root.mkdir(mode=0o700, exist_ok=True)
        async with self._lock(wanted.digest):
            if self.has(wanted.digest):
                return
            half = self._root / f".{wanted.digest}.half"
            try:
                await asyncio.to_thread(remove_tree, half)
                await _Making(half).make(wanted, content)
                faults.point("local.input-made")
                half.rename(self._root / wanted.digest)
            finally:
                await asyncio.to_thread(remove_tree, half)
        await asyncio.to_thread(self.evict)

    def place(self, digest: str, target: Path) -> None:
        """Gives a run the files of an entry, in a folder that is not there yet. Blocks.

        Raises:
            Unavailable: INPUT_MISSING, there is no such entry, or it was tampered with and is gone.
            OSError: the disk is full, for example; nothing is left.
        """
        entry = self._root / digest
        if not self.has(digest):
            raise _missing(digest)
        half = target.with_name(f".{target.name}.{time.time_ns()}")
        try:
            os.utime(self._index(digest))
            half.mkdir(parents=True)
            _copy_tree(entry, half)
        except FileNotFoundError as error:  # it was evicted meanwhile
            remove_tree(half)
            raise _missing(digest) from error
        except _TamperedError as error:
            remove_tree(half)
            self._drop(digest)
            raise _missing(digest) from error
        except OSError:
            remove_tree(half)
            raise
        try:
            half.rename(target)
        except OSError:
            remove_tree(half)
            if not target.exists():  # else two have done the same
                raise

    def evict(self) -> None:
        """Removes what was not used for longest, until the rest is within the limit. Blocks."""
        entries = []
        for index in self._root.glob("[!.]*/index"):
            with contextlib.suppress(FileNotFoundError):
                if not _is_in_use(index.parent):
                    entries.append((index.stat().st_mtime, index.parent.name, _size(index)))
        needed = sum(size for _, _, size in entries)
        for used, digest, size in sorted(entries):
            if needed <= self._limit or used > time.time() - FRESH:
                return
            self._drop(digest)
            needed -= size

    def _index(self, digest: str) -> Path:
        return self._root / digest / "index"

    def _drop(self, digest: str) -> None:
        doomed = self._root / f".{digest}.{time.time_ns()}.doomed"
        with contextlib.suppress(FileNotFoundError):
            (self._root / digest).rename(doomed)
            remove_tree(doomed)

    @contextlib.asynccontextmanager
    async def _lock(self, digest: str) -> AsyncIterator[None]:
        """Lets one at a time make an entry, of all processes."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        lock = os.open(self._root / f".{digest}.lock", flags, 0o600)
        try:
            while True:  # no thread is held up: several may wait for as long as a download lasts
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(_LOOK)
            yield
        finally:
            os.close(lock)


class _Making:
    """One entry that is being made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hash = hashlib.sha256()
        self._index: list[str] = []
        self._links: list[InputFile] = []

    async def make(self, wanted: WorkloadInput, content: InputContent) -> None:
        """Writes and compares all of it."""
        (self._folder / taking.FILES).mkdir(parents=True, mode=0o700)
        async for files in content.files():
            regular = [file for file in files if not file.link_target]
            await asyncio.to_thread(self._create, regular)
            self._links += [file for file in files if file.link_target]
            batch: list[FilePiece] = []
            size = 0
            async for piece in content.read(regular):
                batch.append(piece)
                size += len(piece.data)
                if size >= _AT_ONCE:
                    await asyncio.to_thread(self._write, regular, batch)
                    batch, size = [], 0
            await asyncio.to_thread(self._write, regular, batch)
            await asyncio.to_thread(self._check, files)
        if self._hash.hexdigest() != wanted.digest:
            text = f"the files of {wanted.artifact} are not those of the digest {wanted.digest}"
            raise DataLoss(text, reason="INPUT_DAMAGED")
        for link in self._links:  # last: nothing is written through them
            self._place(link).parent.mkdir(parents=True, exist_ok=True)
            self._place(link).symlink_to(link.link_target)
        (self._folder / "index").write_text("".join(self._index))

    def _place(self, file: InputFile) -> Path:
        parts = file.path.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\0" in file.path:
            raise DataLoss(f"{file.path!r} is no path of a file", reason="INPUT_DAMAGED")
        return self._folder / taking.FILES / file.path

    def _create(self, files: Sequence[InputFile]) -> None:
        for file in files:
            place = self._place(file)
            place.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open(place, flags | os.O_NOFOLLOW, 0o600))

    def _write(self, files: Sequence[InputFile], pieces: Sequence[FilePiece]) -> None:
        last, descriptor = -1, -1
        try:
            for piece in pieces:
                if piece.file != last:
                    if descriptor >= 0:
                        os.close(descriptor)
                    place = self._place(files[piece.file])
                    descriptor = os.open(place, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                    last = piece.file
                data, offset = memoryview(piece.data), piece.offset
                while data:
                    written = os.pwrite(descriptor, data, offset)
                    data, offset = data[written:], offset + written
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _check(self, files: Sequence[InputFile]) -> None:
        """Compares files with their digests, and makes them read-only."""
        for file in files:
            place = self._place(file)
            if file.link_target:
                digest = hashlib.sha256(file.link_target.encode()).hexdigest()
                self._hash.update(f"{digest} 120000 0 {file.path}\0".encode())
                continue
            digest = _sha256(place)
            if digest != file.sha256:
                text = f"{file.path!r} is not what its digest says"
                raise DataLoss(text, reason="INPUT_DAMAGED")
            mode = file.mode or 0o644
            self._hash.update(f"{digest} {mode:o} {file.size_bytes} {file.path}\0".encode())
            place.chmod(0o555 if mode & 0o111 else 0o444)
            status = place.stat()
            self._index.append(f"{status.st_size} {status.st_mtime_ns} {file.path}\0")


class _TamperedError(Exception):
    """A file is not what it was when it came."""


def _copy_tree(entry: Path, target: Path) -> None:
    """Gives a folder the files of an entry."""
    source = entry / taking.FILES
    shares = True
    for size, mtime, path in _lines(entry / "index"):
        file = source / path
        status = file.stat()
        if (status.st_size, status.st_mtime_ns) != (size, mtime):
            raise _TamperedError
        place = target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        shares = shares and _share_blocks(file, place, status.st_mode)
        if not shares:
            _link(file, place)
    for folder, folders, names in os.walk(source):
        for name in (*folders, *names):
            link = Path(folder, name)
            if link.is_symlink():
                place = target / link.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(os.readlink(link))


def _share_blocks(source: Path, target: Path, mode: int) -> bool:
    """Makes a copy that needs no space; False: the file system cannot do that."""
    with open(source, "rb") as old, open(target, "xb") as new:
        try:
            fcntl.ioctl(new, _FICLONE, old.fileno())
        except OSError:
            target.unlink()
            return False
        os.fchmod(new.fileno(), mode & 0o777)
    return True


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP):
            raise
        shutil.copy(source, target)


def _lines(index: Path) -> Iterator[tuple[int, int, str]]:
    for line in index.read_text().split("\0")[:-1]:
        size, mtime, path = line.split(" ", 2)
        yield int(size), int(mtime), path


def _is_in_use(entry: Path) -> bool:
    """Whether a run has another name of the entry's files: removing it would free nothing."""
    for _, _, path in _lines(entry / "index"):
        return (entry / taking.FILES / path).stat().st_nlink > 1
    return False


def _size(index: Path) -> int:
    return sum(size for size, _, _ in _lines(index))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(_PIECE):
            digest.update(data)
    return digest.hexdigest()


def _missing(digest: str) -> Unavailable:
    text = f"this host does not have the input {digest}"
    return Unavailable(text, reason="INPUT_MISSING", retry_after=0.1)
