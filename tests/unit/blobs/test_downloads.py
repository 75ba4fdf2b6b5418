"""Blobs go out as they came in, in whatever ranges, and read in the order in which they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subgrpc.errors import InvalidArgument, NotFound, OutOfRange, Unimplemented
from subgrpc.metastore import BlobPlace
from subgrpc.services.blobs import Intake, Piece, Storage
from subgrpc.services.blobs.downloads import Downloads, _spans, _Wanted
from subgrpc.v1 import artifact_service_pb2 as api

from .conftest import content, digest, pieces

NAME = "teams/default/artifacts/a"


class Files:
    """One artifact, with one file that is made of all blobs."""

    def __init__(self, storage: Storage, blobs: Sequence[bytes]) -> None:
        self._storage = storage
        self._blobs = blobs

    async def blobs_of(self, artifact: str, digests: Sequence[bytes]) -> Mapping[bytes, BlobPlace]:
        assert artifact == NAME
        return await self._storage.find(digests)

    async def file_of(self, artifact: str, path: str) -> api.ArtifactFile:
        assert (artifact, path) == (NAME, "all")
        return api.ArtifactFile(
            path=path,
            size_bytes=sum(map(len, self._blobs)),
            chunks=[api.Chunk(digest=digest(each), size_bytes=len(each)) for each in self._blobs],
        )


BLOBS = [content(5), content(90_000), content(300), content(1), content(2_500_000), content(70)]


@pytest.fixture
async def downloads(storage: Storage) -> Downloads:
    async with Intake(storage) as intake:
        for blob in BLOBS:
            for piece in pieces(blob):
                await intake.take([Piece.of(piece)])
    return Downloads(storage, Files(storage, BLOBS))


async def ranges(downloads: Downloads, *asked: tuple[int, int, int]) -> list[bytes]:
    """What is sent for ranges of the blobs above: number, offset, length."""
    request = api.DownloadBlobsRequest(
        parent=NAME,
        ranges=[
            api.BlobRange(digest=digest(BLOBS[number]), offset=offset, length=length)
            for number, offset, length in asked
        ],
    )
    found = [bytearray() for _ in asked]
    async for frame in downloads.blobs(request):
        message = api.DownloadBlobsResponse.FromString(frame)
        assert sum(len(each.data) for each in message.pieces) <= 2 << 20
        for piece in message.pieces:
            assert piece.offset == asked[piece.range][1] + len(found[piece.range])
            found[piece.range] += piece.data
    return list(map(bytes, found))


async def test_whole_blobs(downloads: Downloads) -> None:
    """Promise: any number of blobs in one call, small and large, each as it was."""
    asked = [(number, 0, 0) for number in range(len(BLOBS))]
    assert await ranges(downloads, *asked) == BLOBS
    assert await ranges(downloads, *reversed(asked)) == BLOBS[::-1]


async def test_parts_of_blobs(downloads: Downloads) -> None:
    """Promise: any range, also several of one blob, the same twice, and beyond its end."""
    asked = [
        (4, 1_000_000, 1_500_000),
        (4, 0, 1),
        (4, 999_999, 2),
        (4, 999_999, 2),
        (2, 299, 5),
        (1, 90_000, 0),
    ]
    assert await ranges(downloads, *asked) == [
        BLOBS[4][1_000_000:],
        BLOBS[4][:1],
        BLOBS[4][999_999:1_000_001],
        BLOBS[4][999_999:1_000_001],
        BLOBS[2][299:],
        b"",
    ]


async def test_what_is_not_there(downloads: Downloads) -> None:
    """Promise: another's blob is not found, nonsense is refused, and nothing was sent before."""
    other = api.DownloadBlobsRequest(parent=NAME, ranges=[api.BlobRange(digest="0" * 64)])
    with pytest.raises(NotFound) as refused:
        await anext(downloads.blobs(other))
    assert refused.value.reason == "BLOB_NOT_FOUND"
    with pytest.raises(OutOfRange):
        await ranges(downloads, (0, 6, 0))
    with pytest.raises(OutOfRange):
        await ranges(downloads, (0, -1, 0))
    with pytest.raises(InvalidArgument):
        await anext(
            downloads.blobs(api.DownloadBlobsRequest(parent=NAME, ranges=[api.BlobRange()]))
        )


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 0), (4, 3), (5, 90_000), (90_304, 3), (90_306, 0), (2_590_375, 9), (2_590_376, 0)],
)
async def test_a_file_is_put_together(downloads: Downloads, offset: int, length: int) -> None:
    """Promise: a range of a file is right across the borders of its chunks."""
    whole = b"".join(BLOBS)
    request = api.DownloadArtifactFileRequest(name=NAME, path="all", offset=offset, length=length)
    found = b""
    async for frame in downloads.file(request):
        message = api.DownloadArtifactFileResponse.FromString(frame)
        assert message.offset == offset + len(found)
        found += message.data
    assert found == whole[offset : offset + length if length else None]


async def test_a_file_has_no_bytes_beyond_its_end(downloads: Downloads) -> None:
    """Promise: an offset beyond the end is OUT_OF_RANGE."""
    request = api.DownloadArtifactFileRequest(name=NAME, path="all", offset=2_590_377)
    with pytest.raises(OutOfRange):
        await anext(downloads.file(request))


async def test_a_folder_signs_nothing(downloads: Downloads) -> None:
    """Promise: a store without signed requests says so."""
    request = api.SignBlobDownloadsRequest(parent=NAME, digests=[digest(BLOBS[0])])
    with pytest.raises(Unimplemented) as refused:
        await downloads.sign(request)
    assert refused.value.reason == "STORE_CANNOT_SIGN"


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30), st.integers(0, 10)), max_size=20)
)
def test_spans_have_every_range_once(asked: list[tuple[str, int, int]]) -> None:
    """Promise: what is read covers each range that is not empty, once, and in order."""
    wanted = [
        _Wanted(key, start, start + length, index, 0)
        for index, (key, start, length) in enumerate(asked)
    ]
    found = []
    for span, members in _spans(wanted):
        position = span.start
        for each in members:
            assert (each.key, each.start) == (span.key, position)
            position = each.end
            found.append(each.range)
        assert position == span.start + span.length
    assert sorted(found) == [each.range for each in wanted if each.start < each.end]
