"""Takes blobs in pieces, and tells when each is durable."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeVar

from subgrpc.artifacts.blobs import DIGEST, MAX_BLOB
from subgrpc.errors import FieldViolation, InvalidArgument
from subgrpc.metastore.blobs import Sealed
from subgrpc.services.blobs.spool import Pack, Part, mismatch
from subgrpc.services.blobs.storage import Storage
from subgrpc.v1.artifact_service_pb2 import BlobPiece, BlobUpload
from subgrpc.validation import raise_violations

T = TypeVar("T")

IN_FLIGHT: Final = 4
"""Objects of one upload that are put at the same time; more blobs have to wait."""
REMEMBERED: Final = 100_000
"""Blobs of an upload that are known to be there without asking."""


PROGRESS: Final = 4 << 20
"""How far a blob is is told whenever so many more bytes have arrived."""


class Piece(NamedTuple):
    """A piece of a blob, taken out of its message once: each look at its data would copy it.

    Attributes:
        text: the blob's digest as it was written.
        digest: the same as bytes; empty: it is none.
        size: the blob's, in bytes.
        offset: where the piece begins.
        data: its bytes.
    """

    text: str
    digest: bytes
    size: int
    offset: int
    data: bytes

    @classmethod
    def of(cls, piece: BlobPiece) -> Piece:
        """Reads a message."""
        text = piece.digest
        digest = bytes.fromhex(text) if DIGEST.fullmatch(text) else b""
        return cls(text, digest, piece.size_bytes, piece.offset, piece.data)


class _Whole(NamedTuple):
    digest: bytes
    content: bytes


class Intake:
    """One upload: used by one task at a time, as an asynchronous context.

    What was told to be complete stays so, however the upload ends. Leaving the context without an
    error waits for everything to be durable; with one, what is whole is kept all the same, by and
    by, and what is not can be gone on with.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.news = asyncio.Event()
        """Set when `told` has something."""
        self._outcomes: list[BlobUpload] = []
        self._parts: dict[bytes, Part] = {}
        self._pack: Pack | None = None
        self._under_way: set[bytes] = set()
        self._there: set[bytes] = set()
        self._puts: set[asyncio.Task[None]] = set()
        self._writing: asyncio.Future[Any] | None = None

    async def __aenter__(self) -> Intake:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _: object, __: TracebackType | None
    ) -> None:
        if self._writing is not None:
            # Whoever was cancelled while a thread writes a file must not close it, since its
            # number may be another file's in the next moment, nor take it for whole.
            await asyncio.wait([self._writing])
        for part in self._parts.values():
            part.pause()
            self._storage.spool.release(part)
        if kind is None:
            await self.finish()
        elif self._pack is not None and self._pack.size:
            self._start(self._pack, self._pack.seal())

    async def take(self, pieces: Sequence[Piece]) -> None:
        """Takes pieces; waits while too much is on its way to the store.

        Raises:
            InvalidArgument: a digest, size or offset cannot be, or DIGEST_MISMATCH.
            OutOfRange: BLOB_OFFSET.
            SubgrpcError: what the store raised, for these pieces or earlier ones.
        """
        raise_violations(_violations(pieces))
        self.check()
        # One that is sent from its beginning though it was there may be there no more.
        self._there -= {each.digest for each in pieces if not each.offset}
        await self._look_up({each.digest for each in pieces})
        whole: list[_Whole] = []
        for piece in pieces:
            digest = piece.digest
            if digest in self._there or digest in self._under_way:
                continue
            small = piece.size < self._storage.store.pack_below
            if small and not piece.offset and len(piece.data) == piece.size:
                self._under_way.add(digest)
                whole.append(_Whole(digest, piece.data))
            else:
                await self._append(piece)
        await self._pack_up(whole)

    async def finish(self) -> None:
        """Waits until everything that is whole is durable.

        Raises:
            SubgrpcError: what the store raised.
        """
        await self.flush()
        while self._puts:
            await asyncio.wait(self._puts, return_when=asyncio.FIRST_COMPLETED)
            self.check()

    async def flush(self) -> None:
        """Sends the pack that is being filled to the store."""
        pack, self._pack = self._pack, None
        if pack is not None:
            sha256 = await self._disk(pack.seal)
            await self._put(pack, sha256)

    def told(self) -> list[BlobUpload]:
        """What became of blobs since the last call."""
        outcomes, self._outcomes = self._outcomes, []
        self.news.clear()
        return outcomes

    async def _disk(self, function: Callable[..., T], *arguments: object) -> T:
        """As `Storage.disk`, for what is waited for though the caller is cancelled."""
        self._writing = asyncio.ensure_future(self._storage.disk(function, *arguments))
        return await asyncio.shield(self._writing)

    async def _look_up(self, digests: set[bytes]) -> None:
        """Blobs that are there already are not taken again."""
        unknown = digests - self._there - self._under_way - self._parts.keys()
        found = await self._storage.want(unknown) if unknown else {}
        if len(self._there) > REMEMBERED:
            self._there.clear()
        self._there.update(found)
        self._tell(*((each.digest, each.size, True) for each in found.values()))

    async def _append(self, piece: Piece) -> None:
        """Takes a piece of a blob that comes in several, or is too large to be packed."""
        digest = piece.digest
        part = self._parts.get(digest)
        if part is None:
            part = self._parts[digest] = self._storage.spool.part(digest, piece.size)
        if part.size != piece.size:
            text = f"blob {piece.text} has {part.size} bytes in one piece, and now {piece.size}"
            raise InvalidArgument(text, reason="DIGEST_MISMATCH")
        before = part.received
        done = await self._disk(part.write, piece.offset, piece.data)
        if not done:
            if part.received // PROGRESS > before // PROGRESS:
                self._tell((digest, part.received, False))
            return
        self._under_way.add(digest)
        del self._parts[digest]
        part.pause()
        if part.size >= self._storage.store.pack_below:
            await self._put(part, digest)
        else:
            await self._disk(self._filling().add_part, part)
            self._storage.spool.release(part)
            await self._pack_up([])

    async def _pack_up(self, whole: Sequence[_Whole]) -> None:
        if whole:
            await self._disk(_add, self._filling(), whole)
        if self._pack is not None and self._pack.size >= self._storage.store.pack_size:
            await self.flush()

    def _filling(self) -> Pack:
        """The pack that is being filled."""
        if self._pack is None:
            self._pack = self._storage.spool.pack()
        return self._pack

    async def _put(self, source: Pack | Part, sha256: bytes) -> None:
        """Starts putting an object, once not too many are under way."""
        while len(self._puts) >= IN_FLIGHT:
            await asyncio.wait(self._puts, return_when=asyncio.FIRST_COMPLETED)
            self.check()
        self._start(source, sha256)

    def _start(self, source: Pack | Part, sha256: bytes) -> None:
        self._puts.add(self._storage.spawn(self._keep(source, sha256)))

    async def _keep(self, source: Pack | Part, sha256: bytes) -> None:
        if isinstance(source, Pack):
            content = source.content
            await self._storage.keep(source.path, source.size, sha256, content)
        else:
            content = [Sealed(sha256, 0, source.size)]
            try:
                await self._storage.keep(source.path, source.size, sha256, content)
            finally:
                self._storage.spool.release(source)
        digests = {each.digest for each in content}
        self._under_way -= digests
        self._there |= digests
        self._tell(*((each.digest, each.size, True) for each in content))

    def check(self) -> bool:
        """Whether something is on its way to the store, or could be by `flush`.

        Raises:
            SubgrpcError: what the store has raised since.
        """
        for task in [each for each in self._puts if each.done()]:
            self._puts.discard(task)
            task.result()
        return bool(self._puts or self._pack)

    def _tell(self, *outcomes: tuple[bytes, int, bool]) -> None:
        for digest, size, complete in outcomes:
            self._outcomes.append(
                BlobUpload(digest=digest.hex(), committed_size=size, complete=complete)
            )
        if outcomes:
            self.news.set()


def _add(pack: Pack, whole: Sequence[_Whole]) -> None:
    for each in whole:
        if hashlib.sha256(each.content).digest() != each.digest:
            raise mismatch(each.digest)
    pack.add(whole)


def _violations(pieces: Sequence[Piece]) -> list[FieldViolation]:
    found = []
    for index, (text, digest, size, offset, data) in enumerate(pieces):
        end = offset + len(data)
        if not digest:
            wrong = f"{text[:80]!r} is not a SHA-256 as 64 lower-case hexadecimal digits"
            found.append(FieldViolation(f"pieces[{index}].digest", wrong, "PATTERN"))
        elif not 0 < size <= MAX_BLOB:
            wrong = f"a blob has 1 to {MAX_BLOB} bytes, not {size}: cut the file"
            found.append(FieldViolation(f"pieces[{index}].size_bytes", wrong, "OUT_OF_RANGE"))
        elif offset < 0 or end > size:
            wrong = f"bytes {offset} to {end} are not in a blob of {size} bytes"
            found.append(FieldViolation(f"pieces[{index}].offset", wrong, "OUT_OF_RANGE"))
    return found[:50]
