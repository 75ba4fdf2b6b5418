"""Content that comes in pieces is cut as files on a client's disk are, however it comes."""

from __future__ import annotations

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from subgrpc.artifacts.cutting import MOST, WHOLE, Cutter
from subgrpc.client.transfer import cutting as client
from subgrpc.client.transfer.scan import scan

MIB = 1 << 20


def cut(data: bytes, step: int) -> tuple[list[bytes], Cutter]:
    """The chunks of content that comes in steps."""
    cutter = Cutter(len(data))
    chunks = []
    for start in range(0, len(data), step):
        cutter.take(data[start : start + step])
        if cutter.is_full:
            chunks += cutter.cut(is_end=False)
    chunks += cutter.cut(is_end=True)
    assert all(hashlib.sha256(each.data).digest() == each.digest for each in chunks)
    return [each.data for each in chunks], cutter


@pytest.mark.parametrize("size", [0, 1, MIB, WHOLE])
def test_a_small_file_is_one_chunk(size: int) -> None:
    """An empty one has none."""
    data = random.Random(size).randbytes(size)
    chunks, cutter = cut(data, 700_000)
    assert chunks == ([data] if data else [])
    assert (cutter.size, cutter.sha256()) == (size, hashlib.sha256(data).digest())


@pytest.mark.parametrize("kind", ["random", "zeros", "both", "just more"])
@pytest.mark.parametrize("step", [MIB, 5 * MIB + 7, 64 * MIB])
def test_a_large_file_is_cut_as_clients_cut_it(tmp_path: Path, kind: str, step: int) -> None:
    """Else an output that somebody pulls, changes and pushes would be sent as a whole."""
    noise = random.Random(7).randbytes
    data = {
        "random": lambda: noise(41 * MIB + 123),
        "zeros": lambda: bytes(48 * MIB),
        "both": lambda: bytes(20 * MIB) + noise(20 * MIB),
        "just more": lambda: noise(WHOLE + 1),
    }[kind]()
    chunks, cutter = cut(data, step)
    assert b"".join(chunks) == data
    assert max(map(len, chunks)) <= MOST
    assert cutter.sha256() == hashlib.sha256(data).digest()
    (tmp_path / "file").write_bytes(data)
    with ThreadPoolExecutor(1) as helpers:
        *_, whole = client.cut_large(scan([tmp_path / "file"])[0], helpers)
    assert [len(each) for each in chunks] == [each.size for each in whole.pieces]  # type: ignore[union-attr]
