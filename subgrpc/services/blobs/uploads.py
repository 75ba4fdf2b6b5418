"""The use cases of ArtifactService by which blobs come in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Final

from subgrpc.artifacts.blobs import DIGEST, MAX_BLOB, object_key
from subgrpc.ending import PATIENT, end
from subgrpc.errors import FailedPrecondition, FieldViolation, Unavailable, Unimplemented
from subgrpc.metastore.blobs import Sealed
from subgrpc.services.blobs.intake import Intake, Piece
from subgrpc.services.blobs.storage import Storage
from subgrpc.services.experiment_changes import known_team
from subgrpc.tokens import TokenCodec
from subgrpc.v1 import artifact_service_pb2 as api
from subgrpc.validation import raise_violations

QUIET: Final = 0.1
"""Seconds without a piece after which small blobs go to the store though they are few."""
SIGNED_FOR: Final = timedelta(minutes=30)
"""How long a signed request is good: less than what it makes is kept for."""
TOKEN: Final = "blob upload"


class Uploads:
    """FindMissingBlobs, UploadBlobs, GetBlobUpload, SignBlobUploads and CommitBlobs."""

    def __init__(self, storage: Storage, tokens: TokenCodec, draining: asyncio.Event) -> None:
        """Takes the storage, what seals upload tokens, and what is set when the server stops."""
        self._storage = storage
        self._sealer = tokens.sealer(TOKEN)
        self._draining = draining

    async def find_missing(
        self, request: api.FindMissingBlobsRequest
    ) -> api.FindMissingBlobsResponse:
        """Tells which blobs have to be uploaded; the others stay for a while."""
        known_team(request.parent)
        wanted = _digests(request.digests, "digests")
        found = await self._storage.want(wanted)
        return api.FindMissingBlobsResponse(
            missing=[
                text for text, raw in zip(request.digests, wanted, strict=True) if raw not in found
            ],
            sign_from_bytes=self._storage.store.pack_below if self._storage.signs else 0,
        )

    async def get(self, request: api.GetBlobUploadRequest) -> api.GetBlobUploadResponse:
        """Tells how much of a blob has arrived."""
        known_team(request.parent)
        digest = bytes.fromhex(request.digest)
        place = (await self._storage.find([digest])).get(digest)
        received = place.size if place else self._storage.spool.received(digest)
        upload = api.BlobUpload(
            digest=request.digest, committed_size=received, complete=place is not None
        )
        return api.GetBlobUploadResponse(upload=upload)

    async def upload(
        self, requests: AsyncIterator[api.UploadBlobsRequest]
    ) -> AsyncIterator[api.UploadBlobsResponse]:
        """Takes blobs, and tells of each when it is durable."""
        async with Intake(self._storage) as intake:
            reading = asyncio.create_task(_read(requests, intake))
            draining = asyncio.create_task(self._draining.wait())
            try:
                while not reading.done():
                    news = asyncio.create_task(intake.news.wait())
                    try:
                        await asyncio.wait(
                            (reading, draining, news), return_when=asyncio.FIRST_COMPLETED
                        )
                    finally:
                        news.cancel()
                    if told := intake.told():
                        yield api.UploadBlobsResponse(uploads=told)
                    elif draining.done() and not reading.done():
                        text = "this server is about to stop: go on with another one, or with it"
                        raise Unavailable(text, reason="SERVER_DRAINING", retry_after=1.0)
                if told := intake.told():
                    yield api.UploadBlobsResponse(uploads=told)
                await reading
            finally:
                await end((reading, draining), PATIENT)

    async def sign(self, request: api.SignBlobUploadsRequest) -> api.SignBlobUploadsResponse:
        """Signs requests by which a client puts blobs into the store itself."""
        known_team(request.parent)
        await self._storage.ready()
        if not self._storage.signs:
            raise cannot_sign(self._storage)
        raise_violations(_unfit(request.blobs, self._storage.store.pack_below))
        answers = await asyncio.gather(*(self._signed(each) for each in request.blobs))
        return api.SignBlobUploadsResponse(requests=answers)

    async def commit(self, request: api.CommitBlobsRequest) -> api.CommitBlobsResponse:
        """Makes blobs known that were put by signed requests."""
        known_team(request.parent)
        await self._storage.ready()
        tokens = [
            json.loads(
                self._sealer.open(
                    token, reason="UPLOAD_TOKEN_INVALID", field=f"upload_tokens[{index}]"
                )
            )
            for index, token in enumerate(request.upload_tokens)
        ]
        there = await asyncio.gather(*(self._committed(*each) for each in tokens))
        missing = [digest for (_, digest, _), kept in zip(tokens, there, strict=True) if not kept]
        if missing:
            raise blobs_missing(missing)
        return api.CommitBlobsResponse()

    async def _signed(self, blob: api.Chunk) -> api.SignedRequest:
        storage, sha256 = self._storage, bytes.fromhex(blob.digest)
        uid = await storage.reserve(sha256, blob.size_bytes)
        key = object_key(sha256, uid)
        signed = await storage.call(
            storage.store.sign_put, key, blob.size_bytes, sha256, SIGNED_FOR
        )
        if signed is None:
            raise cannot_sign(storage)
        answer = api.SignedRequest(
            digest=blob.digest,
            method=signed.method,
            url=signed.url,
            headers=signed.headers,
            size_bytes=blob.size_bytes,
            upload_token=self._sealer.seal(
                json.dumps([uid, blob.digest, blob.size_bytes]).encode()
            ),
        )
        answer.expire_time.FromDatetime(signed.expiry)
        return answer

    async def _committed(self, uid: str, digest: str, size: int) -> bool:
        """Whether the store has the object; then its blob is there."""
        sha256 = bytes.fromhex(digest)
        found = await self._storage.call(self._storage.store.stat, object_key(sha256, uid))
        if found is None or found.size != size:
            return False
        await self._storage.publish(uid, [Sealed(sha256, 0, size)])
        return True


async def _read(requests: AsyncIterator[api.UploadBlobsRequest], intake: Intake) -> None:
    """Gives an upload's pieces to its intake, until there are no more and all are durable."""
    following = asyncio.ensure_future(anext(requests, None))
    try:
        while True:
            busy = intake.check()
            await asyncio.wait((following,), timeout=QUIET if busy else None)
            if not following.done():
                await intake.flush()
                continue
            request = following.result()
            if request is None:
                break
            if request.parent:
                known_team(request.parent)
            pieces = [Piece.of(each) for each in request.pieces]
            del request  # It is as large as its pieces; the next one comes meanwhile.
            following = asyncio.ensure_future(anext(requests, None))
            await intake.take(pieces)
            del pieces
        await intake.finish()
    finally:
        await end((following,))


def blobs_missing(digests: Sequence[str]) -> FailedPrecondition:
    """Blobs that have to be uploaded first."""
    shown = ", ".join(digests[:3]) + (", …" if len(digests) > 3 else "")
    text = f"{len(digests)} blobs are not there: upload them first ({shown})"
    facts = {"digests": ",".join(digests[:100]), "count": str(len(digests))}
    return FailedPrecondition(text, reason="BLOBS_MISSING", metadata=facts)


def cannot_sign(storage: Storage) -> Unimplemented:
    """The store has no signed requests."""
    text = f"the artifact store {storage.store.name!r} has no signed requests: use the server"
    return Unimplemented(text, reason="STORE_CANNOT_SIGN", metadata={"store": storage.store.name})


def _digests(texts: Sequence[str], field: str) -> list[bytes]:
    """Digests as bytes.

    Raises:
        InvalidArgument: one of them is none.
    """
    raise_violations(
        [
            FieldViolation(f"{field}[{index}]", not_a_digest(text), "PATTERN")
            for index, text in enumerate(texts)
            if not DIGEST.fullmatch(text)
        ][:50]
    )
    return [bytes.fromhex(each) for each in texts]


def not_a_digest(text: str) -> str:
    """What is wrong with a digest that is none."""
    return f"{text[:80]!r} is not a SHA-256 as 64 lower-case hexadecimal digits"


def _unfit(blobs: Sequence[api.Chunk], least: int) -> list[FieldViolation]:
    """What is wrong with blobs that are to be put by signed requests."""
    found = []
    for index, blob in enumerate(blobs):
        if not DIGEST.fullmatch(blob.digest):
            text = not_a_digest(blob.digest)
            found.append(FieldViolation(f"blobs[{index}].digest", text, "PATTERN"))
        if not least <= blob.size_bytes <= MAX_BLOB:
            text = f"signed requests are for {least} to {MAX_BLOB} bytes, not {blob.size_bytes}"
            found.append(FieldViolation(f"blobs[{index}].size_bytes", text, "OUT_OF_RANGE"))
    return found
