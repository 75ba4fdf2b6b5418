"""A backup: one tar file with copies of the metastore, logs, artifacts, and the operator's secrets.

Its last entry is a manifest with the size and the SHA-256 of every file: a backup without it was
cut off. Servers go on while one is taken. The metastore is copied first, so that the logs are at
least as new as what it says of them; artifacts do not change, and stay for two hours after nothing
needs them any more. What drivers keep (the folders of running tasks) is no part of it: it means
nothing on another machine, or later.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from subgrpc import __version__
from subgrpc.errors import DataLoss, FailedPrecondition, NotFound, Unavailable
from subgrpc.journal.holding import holding
from subgrpc.metastore import offline
from subgrpc.metastore.sqlite import DATABASE_FILE

FORMAT = 1
MANIFEST = "manifest.json"
FOLDERS = ("journals", "secrets")
ARTIFACTS = "artifacts/store"
"""Where artifacts are kept unless the server was told otherwise."""
FILES = ("server-id",)
_NAME = re.compile(r"[A-Za-z0-9._@=+-]+")
_CHUNK = 1 << 20

Progress = Callable[[str], None]


@dataclass(slots=True)
class Manifest:
    """What a backup holds.

    Attributes:
        format: of the backup.
        version: of the subgrpc that made it.
        time: when it was made, seconds since the epoch.
        files: size and SHA-256 (hexadecimal) of every file by its path.
    """

    format: int = FORMAT
    version: str = __version__
    time: float = field(default_factory=time.time)
    files: dict[str, tuple[int, str]] = field(default_factory=dict)


def backup(
    folder: Path,
    target: Path,
    progress: Progress,
    *,
    metastore: bool = True,
    artifacts: bool = True,
) -> Manifest:
    """Writes a backup of a data folder; the file is there when it is whole and on the disk.

    Args:
        folder: the data folder, whether a server uses it or not.
        target: a file that is not there; compressed if its name ends in `.gz` or `.tgz`.
        progress: called with the name of each file before it is read.
        metastore: whether the metastore is in the folder, and part of the backup.
        artifacts: whether artifacts that are kept in the folder are part of the backup.

    Raises:
        NotFound: there is no metastore in the folder.
        FailedPrecondition: BACKUP_EXISTS, the target is there.
        Unavailable: BACKUP_FAILED, the disk refuses it; nothing is left behind.
    """
    if target.exists():
        raise FailedPrecondition(f"{target} is there already", reason="BACKUP_EXISTS")
    unfinished = target.with_name(f".{target.name}.unfinished")
    database = target.with_name(f".{target.name}.database")
    try:
        with contextlib.ExitStack() as undo:
            hold = undo.enter_context(holding(folder / "journals"))
            undo.callback(unfinished.unlink, missing_ok=True)
            undo.callback(database.unlink, missing_ok=True)
            for left in (unfinished, database):
                left.unlink(missing_ok=True)
                os.close(os.open(left, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            if metastore:
                progress(DATABASE_FILE)
                offline.copy(folder, database)
            folders = (*FOLDERS, ARTIFACTS) if artifacts else FOLDERS
            sources = _sources(folder, database if metastore else None, folders)
            manifest = _write(unfinished, target, _renewing(sources, hold), progress)
            unfinished.rename(target)
            _sync(target.parent)
    except OSError as error:
        text = f"the backup cannot be written: {error.strerror or error}"
        raise Unavailable(text, reason="BACKUP_FAILED") from error
    return manifest


def restore(source: Path, folder: Path, progress: Progress) -> Manifest:
    """Makes a data folder of a backup, with a history id of its own.

    Args:
        source: the backup.
        folder: a folder that is not there, or is empty.
        progress: called with the name of each file before it is written.

    Raises:
        NotFound: there is no such backup.
        FailedPrecondition: DATA_DIR_NOT_EMPTY.
        DataLoss: BACKUP_DAMAGED, or of another format; nothing is left behind.
        Unavailable: RESTORE_FAILED, the disk refuses it; nothing is left behind.
    """
    if not source.is_file():
        raise NotFound(f"there is no backup {source}", reason="BACKUP_NOT_FOUND")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        text = f"{folder} is not empty: move it away first, nothing in it is overwritten"
        raise FailedPrecondition(text, reason="DATA_DIR_NOT_EMPTY")
    unfinished = folder.with_name(f".{folder.name}.restoring")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True, mode=0o700)
        manifest = _read(source, unfinished, progress)
        if DATABASE_FILE in manifest.files:
            offline.begin_history(offline.Place(unfinished))
        _sync_all(unfinished)
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
        _sync(folder.parent)
    except OSError as error:
        text = f"the backup cannot be restored: {error.strerror or error}"
        raise Unavailable(text, reason="RESTORE_FAILED") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return manifest


def _sources(
    folder: Path, database: Path | None, folders: Sequence[str]
) -> Iterator[tuple[str, Path]]:
    """The files of a backup, by their paths in it."""
    if database is not None:
        yield DATABASE_FILE, database
    for name in FILES:
        if (folder / name).is_file():
            yield name, folder / name
    for name in folders:
        for path in sorted((folder / name).rglob("*")):
            relative = path.relative_to(folder)
            hidden = any(part.startswith(".") for part in relative.parts)
            if path.is_file() and not path.is_symlink() and not hidden:
                yield relative.as_posix(), path


def _renewing(
    sources: Iterator[tuple[str, Path]], renew: Callable[[], None]
) -> Iterator[tuple[str, Path]]:
    """The same sources; journals are held while they are read."""
    for each in sources:
        renew()
        yield each


def _write(
    unfinished: Path, target: Path, sources: Iterator[tuple[str, Path]], progress: Progress
) -> Manifest:
    manifest = Manifest()
    compressed = target.name.endswith((".gz", ".tgz"))
    with unfinished.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w|gz" if compressed else "w|") as archive:
            for name, path in sources:
                progress(name)
                # What is deleted meanwhile (the logs of an experiment) is left out.
                with contextlib.suppress(FileNotFoundError), path.open("rb") as content:
                    manifest.files[name] = _add(archive, name, content)
            text = json.dumps(asdict(manifest)).encode()
            _add(archive, MANIFEST, io.BytesIO(text), len(text))
        file.flush()
        os.fsync(file.fileno())
    return manifest


def _add(
    archive: tarfile.TarFile, name: str, content: IO[bytes], size: int | None = None
) -> tuple[int, str]:
    """Adds a file as far as it goes now; a server may be writing behind that."""
    entry = tarfile.TarInfo(name)
    entry.mode = 0o600
    entry.size = os.fstat(content.fileno()).st_size if size is None else size
    reader = _Hashing(content, entry.size)
    archive.addfile(entry, reader)
    return entry.size, reader.digest()


class _Hashing:
    """Reads a file up to a size, and hashes what it reads."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(wanted)
        self._left -= len(data)
        self._hash.update(data)
        return data

    def digest(self) -> str:
        return self._hash.hexdigest()


def _read(source: Path, folder: Path, progress: Progress) -> Manifest:
    """Unpacks a backup, and compares it with its manifest."""
    found: dict[str, tuple[int, str]] = {}
    manifest: Manifest | None = None
    try:
        with tarfile.open(source, mode="r|*") as archive:
            for entry in archive:
                content = archive.extractfile(entry) if entry.isreg() else None
                if content is None or not _is_safe(entry.name):
                    raise _damaged(source, f"it holds {entry.name!r}")
                if entry.name == MANIFEST:
                    manifest = _manifest(source, json.loads(content.read()))
                else:
                    progress(entry.name)
                    found[entry.name] = _unpack(content, entry.size, folder / entry.name)
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError) as error:
        raise _damaged(source, str(error) or type(error).__name__) from error
    if manifest is None:
        raise _damaged(source, "it has no manifest: it was cut off")
    if found != manifest.files:
        wrong = {name for name, _ in found.items() ^ manifest.files.items()}
        raise _damaged(source, f"these files are not as they were: {', '.join(sorted(wrong)[:5])}")
    return manifest


def _manifest(source: Path, raw: Mapping[str, Any]) -> Manifest:
    if raw["format"] != FORMAT:
        text = f"it is of format {raw['format']}, made by subgrpc {raw['version']}"
        raise _damaged(source, text)
    files = {name: (int(size), str(digest)) for name, (size, digest) in raw["files"].items()}
    return Manifest(raw["format"], raw["version"], float(raw["time"]), files)


def _is_safe(name: str) -> bool:
    """Whether a path leads to where backups have files, and nowhere else."""
    parts = PurePosixPath(name).parts
    if len(parts) == 1:
        return name in (DATABASE_FILE, MANIFEST, *FILES)
    inside = any(name.startswith(f"{each}/") for each in (*FOLDERS, ARTIFACTS))
    return inside and all(_is_name(each) for each in parts)


def _is_name(part: str) -> bool:
    return bool(_NAME.fullmatch(part)) and not part.startswith(".")


def _unpack(content: IO[bytes], size: int, target: Path) -> tuple[int, str]:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    reader = _Hashing(content, size)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while data := reader.read(_CHUNK):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return size, reader.digest()


def _damaged(source: Path, problem: str) -> DataLoss:
    return DataLoss(f"the backup {source} cannot be used: {problem}", reason="BACKUP_DAMAGED")


def _sync_all(folder: Path) -> None:
    for path in (folder, *(each for each in folder.rglob("*") if each.is_dir())):
        _sync(path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
