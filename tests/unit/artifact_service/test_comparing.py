"""Damage is found in the blobs where it is, however they lie in their objects."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from subgrpc.artifacts.filestore import FileStore
from subgrpc.metastore import BlobPlace
from subgrpc.services.artifacts import comparing
from subgrpc.services.artifacts.comparing import compare
from subgrpc.v1.artifact_service_pb2 import ArtifactFile, Chunk

from .conftest import content, digest, make_store

KEY = "objects/aa/object"
DATA = content(3 << 20)
SPANS = st.lists(
    st.tuples(st.integers(0, len(DATA) - 1), st.integers(1, 600_000)), min_size=1, max_size=12
)


class Counting(FileStore):
    """Counts what is read of it."""

    asked = 0
    pieces = 0

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        self.asked += 1
        for piece in super().get(key, offset, length):
            self.pieces += 1
            yield piece


def places(spans: list[tuple[int, int]]) -> dict[bytes, BlobPlace]:
    found = {}
    for start, size in spans:
        data = DATA[start : start + size]
        raw = hashlib.sha256(data).digest()
        found[raw] = BlobPlace(raw, "object", KEY, start, len(data))
    return found


def one_blob_files(there: dict[bytes, BlobPlace]) -> list[ArtifactFile]:
    """A file for each blob, with its path as the blob's digest."""
    return [
        ArtifactFile(
            path=raw.hex(),
            sha256=raw.hex(),
            size_bytes=each.size,
            chunks=[Chunk(digest=raw.hex(), size_bytes=each.size)],
        )
        for raw, each in there.items()
    ]


def stored(folder: str, data: bytes) -> FileStore:
    path = Path(folder, KEY)
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return make_store(Path(folder))


@given(SPANS, st.integers(0, len(DATA) - 1), st.booleans())
def test_exactly_the_blobs_with_a_changed_byte_are_damaged(
    spans: list[tuple[int, int]], at: int, cut: bool
) -> None:
    """One byte is another, or the object ends there; blobs may overlap and have gaps between."""
    there = places(spans)
    data = bytearray(DATA)
    data[at] ^= 1
    with tempfile.TemporaryDirectory() as folder:
        store = stored(folder, DATA[:at] if cut else bytes(data))
        verdict = compare(store, one_blob_files(there), there, threading.Event())
    assert verdict.files == len(there)
    expected = {
        raw.hex()
        for raw, each in there.items()
        if at < each.start + each.size and (cut or each.start <= at)
    }
    assert {each.path for each in verdict.damaged} == expected


def test_blobs_of_one_object_are_read_at_one_go() -> None:
    """Promise: neighbours cost one request, also with a small gap between."""
    small = places([(index * 10_000, 9_000) for index in range(200)])
    assert len(list(comparing._spans(list(small.values())))) == 1
    apart = places([(0, 10), (2 << 20, 10)])
    assert len(list(comparing._spans(list(apart.values())))) == 2


def test_a_file_of_several_chunks_is_compared_as_a_whole() -> None:
    """Promise: right chunks in a wrong order, and links and empty files, which have none."""
    there = places([(0, 100), (100, 100)])
    chunks = [Chunk(digest=digest(DATA[begin : begin + 100]), size_bytes=100) for begin in (0, 100)]
    right = ArtifactFile(path="right", sha256=digest(DATA[:200]), size_bytes=200, chunks=chunks)
    wrong = ArtifactFile(
        path="wrong", sha256=digest(DATA[:200]), size_bytes=200, chunks=chunks[::-1]
    )
    empty = ArtifactFile(path="empty", sha256=digest(b""))
    link = ArtifactFile(path="link", link_target="right")
    with tempfile.TemporaryDirectory() as folder:
        store = stored(folder, DATA)
        verdict = compare(store, [right, wrong, empty, link], there, threading.Event())
    assert [each.path for each in verdict.damaged] == ["wrong"]


def test_nothing_more_is_read_once_nobody_waits() -> None:
    """Promise: a caller who goes away costs one more piece."""
    there = places([(0, len(DATA))])
    stop = threading.Event()
    stop.set()
    with tempfile.TemporaryDirectory() as folder:
        stored(folder, DATA)
        store = Counting("files", Path(folder))
        compare(store, one_blob_files(there), there, stop)
    assert (store.asked, store.pieces) == (1, 1)
