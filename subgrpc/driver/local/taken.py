"""What supervisors have taken of their tasks' outputs, as it stands in the tasks' folders."""

from __future__ import annotations

import asyncio
import os
import shutil
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from subgrpc import faults
from subgrpc.agent import taking
from subgrpc.driver import FilePiece, OutputFile, OutputKey, Run, SupportsOutputs, TaskKey
from subgrpc.driver import TaskOutput as Taken
from subgrpc.driver.local.folders import disk
from subgrpc.errors import NotFound

BATCH = 1000
"""Most files of one batch."""
PIECE = 1 << 20
"""Most bytes of one piece."""
_AT_ONCE = 4 << 20
"""Bytes that are read at once: a thread is asked for so much."""


class LocalOutputs(SupportsOutputs):
    """The local driver's part that reads outputs."""

    @abstractmethod
    def task_folder(self, run: Run, task: TaskKey) -> Path:
        """Where a task's files are. Raises NotFound."""

    async def outputs(self, run: Run, task: TaskKey) -> Sequence[Taken]:
        """Returns what was taken, by its folders."""
        folder = self.task_folder(run, task) / taking.FOLDER
        with disk():
            return await asyncio.to_thread(_list, folder)

    async def output_files(self, run: Run, key: OutputKey) -> AsyncIterator[Sequence[OutputFile]]:
        """Yields the files of one, from its list."""
        folder = self._folder(run, key)
        with disk():
            files = await asyncio.to_thread(_files, folder)
        for start in range(0, len(files), BATCH):
            yield [
                OutputFile(path=path, size_bytes=size, mode=mode)
                for path, size, mode in files[start : start + BATCH]
            ]

    async def read_output(
        self, run: Run, key: OutputKey, paths: Sequence[str], offset: int = 0
    ) -> AsyncIterator[FilePiece]:
        """Yields the content of files."""
        folder = self._folder(run, key) / taking.FILES
        pieces = _read(folder, paths, offset)
        while True:
            with disk():
                batch = await asyncio.to_thread(_some, pieces)
            for piece in batch:
                yield piece
            if not batch:
                return

    async def release_output(self, run: Run, key: OutputKey) -> None:
        """Removes what was taken; from one moment to the next it is not there."""
        try:
            folder = self._folder(run, key)
        except NotFound:
            return
        with disk():
            await asyncio.to_thread(_remove, folder)

    def _folder(self, run: Run, key: OutputKey) -> Path:
        known = self.task_folder(run, key.task) / taking.FOLDER
        folder = known / key.output / str(key.sequence)
        # Names are compared, never joined unseen: they come from outside.
        if "/" in key.output or not (folder / taking.ABOUT).is_file():
            text = f"{key.task} has no output {key.output!r} number {key.sequence}"
            raise NotFound(text, reason="TAKEN_NOT_FOUND")
        return folder


def _list(folder: Path) -> list[Taken]:
    found = []
    for place in folder.glob("[!.]*/[!.]*"):
        about = _about(place / taking.ABOUT) if place.name.isdigit() else None
        if about is not None:
            about.name, about.sequence = place.parent.name, int(place.name)
            found.append(about)
    return sorted(found, key=lambda each: (each.name, each.sequence))


def _about(path: Path) -> Taken | None:
    try:
        fields = path.read_bytes().decode().split("\0")
    except (FileNotFoundError, NotADirectoryError):  # released in the meantime
        return None
    pairs = [field.partition("=") for field in fields]
    values = {key: value for key, _, value in pairs}
    taken = Taken(
        final=values["final"] == "1",
        file_count=int(values["files"]),
        size_bytes=int(values["bytes"]),
        problems=[value for key, _, value in pairs if key == "problem"],
    )
    taken.time.FromNanoseconds(int(values["time"]))
    return taken


def _files(folder: Path) -> list[tuple[str, int, int]]:
    lines = (folder / taking.LIST).read_bytes().decode().split("\0")[:-1]
    found = []
    for line in lines:
        size, mode, path = line.split(" ", 2)
        found.append((path, int(size), int(mode, 8)))
    return found


def _read(folder: Path, paths: Sequence[str], offset: int) -> Iterator[FilePiece]:
    for number, path in enumerate(paths):
        if path.startswith("/") or ".." in path.split("/"):
            raise NotFound(f"there is no file {path!r}", reason="FILE_NOT_FOUND")
        try:
            file = os.open(folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"there is no file {path!r}", reason="FILE_NOT_FOUND") from error
        try:
            position = 0 if number else offset
            while data := os.pread(file, PIECE, position):
                yield FilePiece(file=number, offset=position, data=data)
                position += len(data)
        finally:
            os.close(file)


def _some(pieces: Iterator[FilePiece]) -> list[FilePiece]:
    """The next pieces, about `_AT_ONCE` bytes of them; none at the end."""
    batch = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece.data)
        if size >= _AT_ONCE or len(batch) >= BATCH:
            break
    return batch


def _remove(folder: Path) -> None:
    doomed = folder.with_name(f".{folder.name}.released")
    shutil.rmtree(doomed, ignore_errors=True)
    try:
        folder.rename(doomed)
    except FileNotFoundError:
        return
    faults.point("local.released")
    shutil.rmtree(doomed)
