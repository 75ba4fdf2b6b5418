"""Blobs over the wire: uploads and downloads of a real server, also when connections break."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from subgrpc.v1 import artifact_service_pb2 as pb
from subgrpc.v1.artifact_service_pb2_grpc import ArtifactServiceStub

TEAM = "teams/default"


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(f"{size} {seed}").randbytes(size)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def requests(*blobs: bytes, offset: int = 0) -> list[pb.UploadBlobsRequest]:
    return [
        pb.UploadBlobsRequest(
            parent=TEAM,
            pieces=[
                pb.BlobPiece(
                    digest=digest(blob),
                    size_bytes=len(blob),
                    offset=begin,
                    data=blob[begin : begin + (1 << 20)],
                )
            ],
        )
        for blob in blobs
        for begin in range(offset, len(blob), 1 << 20)
    ]


async def upload(stub: Any, messages: list[pb.UploadBlobsRequest]) -> dict[str, int]:
    """Uploads; returns the sizes of what was told complete."""
    found = {}
    async for answer in stub.UploadBlobs(iter(messages)):
        found.update({each.digest: each.committed_size for each in answer.uploads if each.complete})
    return found


@pytest.fixture
def stub(api: Any) -> Any:
    return ArtifactServiceStub(api.channel)


async def test_an_upload_is_answered_blob_by_blob(stub: Any) -> None:
    """Promise: each blob is told complete; then it is no longer missing."""
    blobs = [content(10), content(3_000_000), content(1 << 20), content(70_000)]
    missing = await stub.FindMissingBlobs(
        pb.FindMissingBlobsRequest(parent=TEAM, digests=map(digest, blobs))
    )
    assert list(missing.missing) == list(map(digest, blobs))
    assert missing.sign_from_bytes == 0
    told = await upload(stub, requests(*blobs))
    assert told == {digest(each): len(each) for each in blobs}
    again = await stub.FindMissingBlobs(
        pb.FindMissingBlobsRequest(parent=TEAM, digests=[*map(digest, blobs), "0" * 64])
    )
    assert list(again.missing) == ["0" * 64]


async def test_small_blobs_are_told_though_the_stream_stays_open(stub: Any) -> None:
    """Promise: who waits for the answer before he sends more gets it."""
    call = stub.UploadBlobs()
    for number in range(3):
        blob = content(100, number)
        await call.write(requests(blob)[0])
        answer = await call.read()
        assert [(each.digest, each.complete) for each in answer.uploads] == [(digest(blob), True)]
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_a_cut_upload_goes_on(stub: Any) -> None:
    """Promise: after a broken stream the server tells how much it has, and takes the rest."""
    blob = content(5 << 20)
    call = stub.UploadBlobs()
    for message in requests(blob)[:3]:
        await call.write(message)
    asked = pb.GetBlobUploadRequest(parent=TEAM, digest=digest(blob))

    async def arrived() -> tuple[int, bool]:
        state = (await stub.GetBlobUpload(asked)).upload
        return state.committed_size, state.complete

    for _ in range(500):
        if await arrived() == (3 << 20, False):
            break
        await asyncio.sleep(0.01)
    call.cancel()
    assert await upload(stub, requests(blob, offset=3 << 20)) == {digest(blob): 5 << 20}
    state = (await stub.GetBlobUpload(asked)).upload
    assert (state.committed_size, state.complete) == (5 << 20, True)


async def test_mistakes_are_told_with_what_to_do(stub: Any, refused: Any) -> None:
    """Promise: a wrong digest, a gap and nonsense are statuses with a reason; nothing is kept."""
    blob = content(3 << 20)
    gap = await refused(upload(stub, requests(blob, offset=1 << 20)))
    assert (gap.code, gap.reason) == (grpc.StatusCode.OUT_OF_RANGE, "BLOB_OFFSET")
    assert gap.metadata["committedSize"] == "0"
    wrong = requests(content(100))
    wrong[0].pieces[0].digest = "0" * 64
    lie = await refused(upload(stub, wrong))
    assert (lie.code, lie.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "DIGEST_MISMATCH")
    empty = pb.UploadBlobsRequest(parent=TEAM, pieces=[pb.BlobPiece(digest="x")])
    nonsense = await refused(upload(stub, [empty]))
    assert list(nonsense.violations) == ["pieces[0].digest"]
    other = await refused(upload(stub, [pb.UploadBlobsRequest(parent="teams/other")]))
    assert other.code == grpc.StatusCode.NOT_FOUND


async def test_many_uploads_at_once(stub: Any) -> None:
    """Promise: uploads that have blobs in common do not disturb each other."""
    common = [content(2 << 20, number) for number in range(3)]
    own = [content(500_000, 100 + number) for number in range(8)]
    told = await asyncio.gather(*(upload(stub, requests(*common, each)) for each in own))
    for found, each in zip(told, own, strict=True):
        assert set(found) == {digest(each), *map(digest, common)}


async def test_a_server_that_stops_ends_uploads(
    running: Any, server: Any, stub: Any, refused: Any
) -> None:
    """Promise: an open upload is told that the server stops, so that it goes elsewhere."""

    async def slowly() -> AsyncIterator[pb.UploadBlobsRequest]:
        yield requests(content(10))[0]
        await asyncio.sleep(30)

    async def uploading() -> None:
        async for _ in stub.UploadBlobs(slowly()):
            pass

    told = asyncio.create_task(refused(uploading()))
    await asyncio.sleep(0.3)
    await running.stop(server)
    failure = await told
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
