"""Blobs on their way: in which pieces, in which requests."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subgrpc.client.transfer import blobs
from subgrpc.client.transfer.blobs import FRAME, PIECE, Blob
from subgrpc.client.transfer.scan import LocalFile, scan
from subgrpc.errors import FailedPrecondition
from subgrpc.v1.artifact_service_pb2 import ArtifactFile, UploadBlobsRequest

CONTENT = random.Random(1).randbytes(3 * FRAME)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> LocalFile:
    path = tmp_path_factory.mktemp("blobs") / "file"
    path.write_bytes(CONTENT)
    return scan([path])[0]


def joined(requests: list[UploadBlobsRequest]) -> dict[str, tuple[int, bytes]]:
    """What a server has put together, which wants each piece where the last one ended."""
    found: dict[str, tuple[int, bytes]] = {}
    for request in requests:
        for piece in request.pieces:
            start, data = found.get(piece.digest, (piece.offset, b""))
            assert piece.offset == start + len(data)
            assert piece.data
            found[piece.digest] = (start, data + piece.data)
    return found


SIZES = st.one_of(
    st.integers(1, 5000), st.sampled_from([PIECE, PIECE + 1, FRAME - 1, FRAME, FRAME + PIECE + 7])
)


@given(
    wanted=st.lists(
        st.one_of(st.none(), st.tuples(SIZES, st.floats(0, 1, exclude_max=True), st.booleans())),
        max_size=40,
    )
)
def test_requests_have_every_byte_once(
    file: LocalFile, wanted: list[tuple[int, float, bool] | None]
) -> None:
    """In order, from where each blob begins on, none of them too large; a pause sends the rest."""
    some: list[Blob | None] = []
    for number, each in enumerate(wanted):
        if each is None:
            some.append(None)
            continue
        size, share, in_memory = each
        data = CONTENT[number : number + size] if in_memory else None
        some.append(Blob(f"{number}", size, file, number, data, start=int(size * share)))
    sent = list(blobs.requests("teams/default", some))
    assert all(0 < sum(len(p.data) for p in each.pieces) <= FRAME for each in sent)
    assert [each.parent for each in sent[:1]] == ["teams/default"] * bool(sent)
    assert joined(sent) == {
        each.digest: (each.start, CONTENT[each.offset + each.start : each.offset + each.size])
        for each in some
        if each is not None
    }


def test_many_small_blobs_share_a_request(file: LocalFile) -> None:
    """Not one request each."""
    some = [Blob(f"{n}", 10, file, n, CONTENT[n : n + 10]) for n in range(3000)]
    assert len(list(blobs.requests("", some))) == 2


def test_a_pause_is_not_waited_for(file: LocalFile) -> None:
    """What is there is sent before the next blob is asked for."""
    asked = []

    def ask() -> Iterator[Blob | None]:
        asked.append("first")
        yield Blob("1", 10, file, 0)
        asked.append("pause")
        yield None
        asked.append("second")
        yield Blob("2", 10, file, 10)

    sent = blobs.requests("", ask())
    assert next(sent).pieces[0].digest == "1"
    assert asked == ["first", "pause"]
    assert next(sent).pieces[0].digest == "2"


def test_a_file_that_changes_while_it_is_sent(tmp_path: Path) -> None:
    """Is noticed at the latest behind its last piece."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    (found,) = scan([path])
    blob = Blob("1", 2 * PIECE, found, 0)
    pieces = blob.pieces()
    next(pieces)
    path.write_bytes(b"short")
    with pytest.raises(FailedPrecondition) as refused:
        list(pieces)
    assert refused.value.reason == "FILE_CHANGED"


def test_blobs_of_a_file_of_an_artifact(file: LocalFile) -> None:
    """Those that were cut, one after the other; of a small file itself; of an empty one none."""
    entry = ArtifactFile(size_bytes=30)
    for size in (10, 20):
        entry.chunks.add(digest=f"{size}", size_bytes=size)
    assert [(b.digest, b.offset, b.size) for b in blobs.of_entry(file, entry)] == [
        ("10", 0, 10),
        ("20", 10, 20),
    ]
    digest = hashlib.sha256(b"x").hexdigest()
    (only,) = blobs.of_entry(file, ArtifactFile(size_bytes=1, sha256=digest))
    assert (only.digest, only.size) == (digest, 1)
    assert list(blobs.of_entry(file, ArtifactFile(sha256=digest))) == []
