from __future__ import annotations

from pathlib import Path

import pytest

from subgrpc.journal import DATA, JournalReader, JournalStore, JournalWriter
from subgrpc.journal.frames import join

UID = "0" * 26
OUT, ERR = 1, 2
Piece = tuple[str, int, bytes]


@pytest.fixture
def store(tmp_path: Path) -> JournalStore:
    return JournalStore(tmp_path / "journals")


def put(log: JournalWriter, task: str, stream: int, data: bytes, time: int = 0) -> None:
    log.append(task, stream, log.offset(task, stream), data, time)


def read_all(
    reader: JournalReader, position: int = 0, *, skip: int = 0, task: str = "", stream: int = 0
) -> list[Piece]:
    """Everything behind a position, adjacent pieces of one stream joined."""
    found: list[Piece] = []
    while True:
        batch = reader.read(position, skip=skip, task=task, stream=stream)
        for run in batch.runs:
            if run.kind != DATA:
                continue
            if found and found[-1][:2] == (run.task, run.stream):
                found[-1] = (run.task, run.stream, found[-1][2] + join(run))
            else:
                found.append((run.task, run.stream, join(run)))
        if batch.next == position and not batch.runs:
            return found
        position, skip = batch.next, 0


def output(reader: JournalReader, **kwargs: object) -> bytes:
    return b"".join(piece[2] for piece in read_all(reader, **kwargs))  # type: ignore[arg-type]


def segment(store: JournalStore, number: int = 1, attempt: int = 1) -> Path:
    return store._root / UID / str(attempt) / f"{number:06d}.seg"
