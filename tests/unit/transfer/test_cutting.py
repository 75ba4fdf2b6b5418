"""Files that are cut by content and hashed."""

from __future__ import annotations

import hashlib
import os
import random
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastcdc import fastcdc

from subgrpc.client.transfer import cutting
from subgrpc.client.transfer.cutting import Cut, Piece
from subgrpc.client.transfer.scan import scan
from subgrpc.errors import FailedPrecondition

MIB = 1 << 20


@pytest.fixture(scope="module")
def helpers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def bytes_of(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def cut(path: Path, helpers: ThreadPoolExecutor) -> tuple[list[Piece], Cut]:
    *pieces, whole = cutting.cut_large(scan([path])[0], helpers)
    assert isinstance(whole, Cut)
    assert list(whole.pieces) == pieces
    return pieces, whole  # type: ignore[return-value]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: bytes_of(1, 45 * MIB + 12345), id="random"),
        pytest.param(lambda: bytes(40 * MIB), id="zeros"),
        pytest.param(lambda: bytes(33 * MIB) + bytes_of(2, 10 * MIB), id="both"),
        pytest.param(lambda: bytes_of(3, 16 * MIB + 1), id="just more than one"),
        pytest.param(lambda: bytes(48 * MIB), id="whole buffers"),
    ],
)
def test_cuts_are_those_of_the_whole_file(
    content: object, tmp_path: Path, helpers: ThreadPoolExecutor
) -> None:
    """However it is read: the same bytes have the same chunks on every machine."""
    data = content()  # type: ignore[operator]
    path = tmp_path / "file"
    path.write_bytes(data)
    pieces, whole = cut(path, helpers)
    assert [each.size for each in pieces] == [
        each.length for each in fastcdc(data, MIB, 4 * MIB, 16 * MIB)
    ]
    assert whole.sha256 == hashlib.sha256(data).hexdigest()
    offset = 0
    for piece in pieces:
        part = data[piece.offset : piece.offset + piece.size]
        assert (piece.offset, piece.digest) == (offset, hashlib.sha256(part).hexdigest())
        offset += piece.size
    assert offset == len(data)


def test_a_change_in_one_place_changes_few_chunks(
    tmp_path: Path, helpers: ThreadPoolExecutor
) -> None:
    """Bytes that are put in between move all that is behind them, and leave its chunks alone."""
    data = bytes_of(4, 40 * MIB)
    (tmp_path / "before").write_bytes(data)
    (tmp_path / "after").write_bytes(data[: 20 * MIB] + b"inserted" + data[20 * MIB :])
    before, after = cut(tmp_path / "before", helpers)[0], cut(tmp_path / "after", helpers)[0]
    known = {each.digest for each in before}
    assert len([each for each in after if each.digest not in known]) <= 2


def test_memory_is_bounded(tmp_path: Path, helpers: ThreadPoolExecutor) -> None:
    """Whatever the size of the file."""
    path = tmp_path / "file"
    with open(path, "wb") as file:
        file.truncate(200 * MIB)
    tracemalloc.start()
    try:
        cut(path, helpers)
        assert tracemalloc.get_traced_memory()[1] < 2.5 * cutting.MOST
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 1, 100, MIB])
def test_small_files(size: int, tmp_path: Path) -> None:
    """One blob, or none; the bytes of the smallest are kept."""
    path = tmp_path / "file"
    path.write_bytes(bytes_of(5, size))
    found = cutting.cut_small(scan([path])[0], keep=1000)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [each.size for each in found.pieces] == [size] * bool(size)
    kept = [each.data for each in found.pieces]
    assert kept == ([path.read_bytes()] if 0 < size <= 1000 else [None] * bool(size))


@pytest.mark.parametrize("size", [100, 20 * MIB])
@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite", "replace"])
def test_files_that_change_are_noticed(
    size: int, change: str, tmp_path: Path, helpers: ThreadPoolExecutor
) -> None:
    """Between being found and being read."""
    path = tmp_path / "file"
    path.write_bytes(bytes_of(6, size))
    (found,) = scan([path])
    if change == "grow":
        with open(path, "ab") as file:
            file.write(b"more")
    elif change == "shrink":
        os.truncate(path, size // 2)
    elif change == "rewrite":
        path.write_bytes(bytes_of(7, size))
        os.utime(path, ns=(0, found.mtime + 1))
    else:
        (tmp_path / "other").write_bytes(bytes_of(7, size))
        os.utime(tmp_path / "other", ns=(0, found.mtime))
        os.replace(tmp_path / "other", path)
    reading = cutting.cut_large(found, helpers) if size > cutting.WHOLE else None
    with pytest.raises(FailedPrecondition) as refused:
        cutting.cut_small(found, 1000) if reading is None else list(reading)
    assert refused.value.reason == "FILE_CHANGED"
    assert str(path) in refused.value.message
