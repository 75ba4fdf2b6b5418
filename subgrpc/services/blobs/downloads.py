"""The use cases of ArtifactService by which blobs go out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple, Protocol

from subgrpc.artifacts.blobs import DIGEST
from subgrpc.errors import FieldViolation, NotFound, OutOfRange
from subgrpc.metastore import BlobPlace
from subgrpc.services import wire
from subgrpc.services.blobs.storage import Span, Storage
from subgrpc.services.blobs.uploads import SIGNED_FOR, cannot_sign, not_a_digest
from subgrpc.v1 import artifact_service_pb2 as api
from subgrpc.validation import raise_violations

FRAME: Final = 1 << 20
"""About how many bytes of data a frame has."""


class Files(Protocol):
    """What downloads need to know of artifacts."""

    async def blobs_of(self, artifact: str, digests: Sequence[bytes]) -> Mapping[bytes, BlobPlace]:
        """Where blobs of an artifact are; those that it does not have are left out.

        Raises:
            NotFound: ARTIFACT_NOT_FOUND.
        """

    async def file_of(self, artifact: str, path: str) -> api.ArtifactFile:
        """A file of an artifact, with its chunks.

        Raises:
            NotFound: ARTIFACT_NOT_FOUND, FILE_NOT_FOUND.
        """


class _Wanted(NamedTuple):
    """A range that was asked for, as a span of an object."""

    key: str
    start: int
    end: int
    range: int
    offset: int


class Downloads:
    """DownloadBlobs, DownloadArtifactFile and SignBlobDownloads."""

    def __init__(self, storage: Storage, files: Files) -> None:
        """Takes the storage, and what knows the files of artifacts."""
        self._storage = storage
        self._files = files

    async def blobs(self, request: api.DownloadBlobsRequest) -> AsyncIterator[bytes]:
        """Streams ranges of blobs, in the order in which they lie in the store."""
        wanted = await self._located(request.parent, request.ranges)
        frame: list[bytes] = []
        size = 0
        for span, of_span in _spans(wanted):
            async with aclosing(self._pieces(span, of_span)) as pieces:
                async for piece, length in pieces:
                    if frame and size + length > FRAME:
                        yield wire.repeated(1, frame)
                        frame, size = [], 0
                    frame.append(piece)
                    size += length
        if frame:
            yield wire.repeated(1, frame)

    async def file(self, request: api.DownloadArtifactFileRequest) -> AsyncIterator[bytes]:
        """Streams a file, or a range of it."""
        file = await self._files.file_of(request.name, request.path)
        begin = request.offset
        if begin > file.size_bytes:
            text = f"{request.path} has {file.size_bytes} bytes; there is no byte {begin}"
            raise OutOfRange(text, reason="OUT_OF_RANGE")
        end = min(file.size_bytes, begin + request.length) if request.length else file.size_bytes
        digests = [bytes.fromhex(each.digest) for each in file.chunks]
        places = await self._files.blobs_of(request.name, digests)
        position = 0
        for chunk, digest in zip(file.chunks, digests, strict=True):
            first, last = max(begin - position, 0), min(end - position, chunk.size_bytes)
            if first < last:
                place = places[digest]
                span = Span(place.key, place.start + first, last - first)
                async with aclosing(self._storage.read(span)) as pieces:
                    async for piece in pieces:
                        head = wire.number(1, position + first) if position + first else b""
                        yield head + wire.length_delimited(2, piece)
                        first += len(piece)
            position += chunk.size_bytes

    async def sign(self, request: api.SignBlobDownloadsRequest) -> api.SignBlobDownloadsResponse:
        """Signs requests by which a client reads blobs from the store itself."""
        ranges = [api.BlobRange(digest=each) for each in request.digests]
        wanted = await self._located(request.parent, ranges, "digests")
        await self._storage.ready()
        if not self._storage.signs:
            raise cannot_sign(self._storage)
        answers = await asyncio.gather(
            *(self._signed(each, request.digests[each.range]) for each in wanted)
        )
        return api.SignBlobDownloadsResponse(requests=answers)

    async def _signed(self, blob: _Wanted, digest: str) -> api.SignedRequest:
        store = self._storage.store
        signed = await self._storage.call(store.sign_get, blob.key, SIGNED_FOR)
        if signed is None:
            raise cannot_sign(self._storage)
        answer = api.SignedRequest(
            digest=digest,
            method=signed.method,
            url=signed.url,
            headers=signed.headers,
            offset=blob.start,
            size_bytes=blob.end - blob.start,
        )
        answer.expire_time.FromDatetime(signed.expiry)
        return answer

    async def _located(
        self, artifact: str, ranges: Sequence[api.BlobRange], field: str = "ranges"
    ) -> list[_Wanted]:
        """Where ranges are, in the order asked for."""
        raise_violations(
            [
                FieldViolation(f"{field}[{index}]", not_a_digest(each.digest), "PATTERN")
                for index, each in enumerate(ranges)
                if not DIGEST.fullmatch(each.digest)
            ][:50]
        )
        digests = [bytes.fromhex(each.digest) for each in ranges]
        places = await self._files.blobs_of(artifact, digests)
        if gone := [each.hex() for each in digests if each not in places]:
            text = f"{artifact} has no blob {gone[0]}" + (
                f", nor {len(gone) - 1} others" if len(gone) > 1 else ""
            )
            raise NotFound(text, reason="BLOB_NOT_FOUND", metadata={"digest": gone[0]})
        return [
            _within(places[digest], index, each, field)
            for index, (digest, each) in enumerate(zip(digests, ranges, strict=True))
        ]

    async def _pieces(
        self, span: Span, wanted: Sequence[_Wanted]
    ) -> AsyncGenerator[tuple[bytes, int], None]:
        """The serialised pieces of a span, and how many bytes of data each has."""
        position, left = span.start, list(reversed(wanted))
        async with aclosing(self._storage.read(span)) as pieces:
            async for data in pieces:
                used = 0
                while left and used < len(data):
                    it = left[-1]
                    done = position + used - it.start
                    taken = min(len(data) - used, it.end - it.start - done)
                    yield (
                        _piece(it.range, it.offset + done, data[used : used + taken]),
                        taken,
                    )
                    used += taken
                    if done + taken == it.end - it.start:
                        left.pop()
                position += len(data)


def _within(place: BlobPlace, index: int, asked: api.BlobRange, field: str) -> _Wanted:
    """A range as a span of its object.

    Raises:
        OutOfRange: it begins beyond the blob's end, or is negative.
    """
    if not 0 <= asked.offset <= place.size or asked.length < 0:
        text = f"{field}[{index}]: blob {asked.digest} has {place.size} bytes"
        raise OutOfRange(text, reason="OUT_OF_RANGE", metadata={"digest": asked.digest})
    length = min(asked.length or place.size, place.size - asked.offset)
    start = place.start + asked.offset
    return _Wanted(place.key, start, start + length, index, asked.offset)


def _spans(wanted: Sequence[_Wanted]) -> list[tuple[Span, list[_Wanted]]]:
    """Ranges in the order in which they lie in objects; those that touch are read at once."""
    found: list[tuple[Span, list[_Wanted]]] = []
    for each in sorted(wanted):
        if each.start == each.end:
            continue
        if found:
            span, members = found[-1]
            if span.key == each.key and span.start + span.length == each.start:
                members.append(each)
                found[-1] = (span._replace(length=each.end - span.start), members)
                continue
        found.append((Span(each.key, each.start, each.end - each.start), [each]))
    return found


def _piece(index: int, offset: int, data: bytes) -> bytes:
    """A serialised DownloadedPiece."""
    head = (wire.number(1, index) if index else b"") + (wire.number(2, offset) if offset else b"")
    return head + wire.length_delimited(3, data)
