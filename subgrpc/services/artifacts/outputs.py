"""Makes artifacts of experiments' outputs: read from a backend, cut, kept, and named once.

For the engine, which knows of it only what it needs (`subgrpc.engine.keeper.Artifacts`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, Protocol

import structlog

from subgrpc import names
from subgrpc.artifacts.cutting import Cutter, Piece
from subgrpc.driver import FilePiece, OutputFile
from subgrpc.errors import FailedPrecondition, InvalidArgument, NotFound
from subgrpc.metastore import Metastore, Transaction, artifacts
from subgrpc.services.artifacts.changes import Wanted
from subgrpc.services.artifacts.making import Making
from subgrpc.services.artifacts.reading import Reading
from subgrpc.services.blobs import Intake, Storage
from subgrpc.services.blobs import Piece as BlobPiece
from subgrpc.services.model_registration import Registration
from subgrpc.v1.artifact_service_pb2 import (
    ARTIFACT_STATE_READY,
    Artifact,
    ArtifactFile,
    ArtifactSource,
    Chunk,
)
from subgrpc.v1.model_registry_service_pb2 import CreateModelVersionRequest

FILES: Final = 1000
"""Most files that are added to an artifact at once."""
BYTES: Final = 1 << 30
"""About so many bytes are kept before the files that they are of are added: what no artifact needs
is not kept for long."""
SMALL: Final = 64 * 1024
"""Files of fewer bytes are hashed without a thread."""
FRAME: Final = 1 << 20
"""Most bytes of a piece of a blob."""
_TOGETHER: Final = 4 << 20
"""Bytes of small blobs that are handed over at once."""

_log = structlog.get_logger(__name__)


class Content(Protocol):
    """What was taken of an output."""

    def files(self) -> AsyncIterator[Sequence[OutputFile]]:
        """The files, by path, in batches."""

    def read(self, paths: Sequence[str]) -> AsyncIterator[FilePiece]:
        """The content of files, one after the other."""


class OutputArtifacts:
    """Keeps outputs in the artifact store."""

    def __init__(self, store: Metastore, storage: Storage) -> None:
        self._store = store
        self._storage = storage
        self._making = Making(store)
        self._reading = Reading(store)

    async def store(
        self,
        name: str,
        content: Content,
        *,
        source: ArtifactSource,
        creator: str,
        display_name: str,
        labels: Mapping[str, str],
    ) -> Artifact:
        """Makes an artifact, or finds that it was made before from the same source.

        Raises:
            InvalidArgument: OUTPUT_CHANGED, the content is not what it was said to be; or a file
                cannot be one of an artifact.
            AlreadyExists: ARTIFACT_EXISTS, from another source.
            SubgrpcError: what the store raises.
        """
        parsed = names.parse_artifact(name)
        wanted = Wanted(
            team=parsed.team,
            artifact_id=parsed.artifact,
            creator=creator,
            display_name=display_name,
            labels=labels,
            source=source,
        )
        earlier = await self._find(parsed)
        if earlier.state == ARTIFACT_STATE_READY and earlier.source == source:
            return earlier
        async with Intake(self._storage) as intake:
            return await self._making.create_from(wanted, _kept(content, intake))

    async def _find(self, name: names.ArtifactName) -> Artifact:
        """The artifact of a name; an empty one: there is none."""
        try:
            stored = await self._reading.stored(name)
        except NotFound:
            return Artifact()
        return Artifact.FromString(stored.body)

    async def register(self, model: str, artifact: str, creator: str) -> str:
        """Makes an artifact the next version of a model, unless it is one of it.

        Raises:
            NotFound: ARTIFACT_NOT_FOUND.
        """
        request = CreateModelVersionRequest(parent=model, create_model=True)
        request.model_version.artifact = artifact
        registration = Registration.of(request, creator)
        parsed = names.parse_artifact(artifact)

        def register(tx: Transaction) -> str:
            there = artifacts.by_name(tx, *parsed)
            for referrer in artifacts.referrers(tx, there.uid) if there is not None else ():
                if referrer.startswith(f"{model}/versions/"):
                    return referrer
            return registration.register(tx).name

        return await self._store.write(register)

    async def remove(self, name: str) -> None:
        """Removes an artifact that an experiment made; one that is needed stays."""
        parsed = names.parse_artifact(name)

        def remove(tx: Transaction) -> None:
            there = artifacts.by_name(tx, *parsed)
            if there is not None and there.HasField("source"):
                artifacts.delete(tx, there)

        try:
            await self._store.write_ordered(remove)
        except FailedPrecondition as error:
            _log.info("outputs.needed", artifact=name, error=error.message)


async def _kept(content: Content, intake: Intake) -> AsyncIterator[Sequence[ArtifactFile]]:
    """The files of a content, each batch once its blobs are kept."""
    taker = _Taker(intake)
    async for batch in content.files():
        for part in _parts(batch):
            files = await taker.take(part, content)
            await intake.finish()
            yield files


def _parts(files: Sequence[OutputFile]) -> list[list[OutputFile]]:
    """Files in parts of about `BYTES`, and at most `FILES`."""
    parts: list[list[OutputFile]] = []
    size = BYTES
    for file in files:
        if size >= BYTES or len(parts[-1]) >= FILES:
            parts.append([])
            size = 0
        parts[-1].append(file)
        size += file.size_bytes
    return parts


class _Cutting:
    """A file on its way.

    Attributes:
        chunks: those that were cut off: digest and size.
    """

    def __init__(self, file: OutputFile) -> None:
        self.file = file
        self.cutter = Cutter(file.size_bytes)
        self.chunks: list[Chunk] = []

    def made(self) -> ArtifactFile:
        """The file of the artifact.

        Raises:
            InvalidArgument: OUTPUT_CHANGED.
        """
        file, cutter = self.file, self.cutter
        if cutter.size != file.size_bytes:
            text = f"{file.path} had {file.size_bytes} bytes when it was taken, now {cutter.size}"
            raise InvalidArgument(text, reason="OUTPUT_CHANGED")
        return ArtifactFile(
            path=file.path,
            size_bytes=file.size_bytes,
            mode=file.mode,
            sha256=cutter.sha256().hex(),
            chunks=self.chunks,
        )


class _Taker:
    """Hands content over to an intake."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._pending: list[BlobPiece] = []
        self._pending_bytes = 0

    async def take(self, files: Sequence[OutputFile], content: Content) -> list[ArtifactFile]:
        """Takes files; returns them as those of an artifact."""
        made: list[ArtifactFile] = []
        current = _Cutting(files[0])
        async for piece in content.read([file.path for file in files]):
            while len(made) < piece.file:  # also for those that are empty, and have no piece
                made.append(await self._end(current))
                current = _Cutting(files[len(made)])
            current.cutter.take(piece.data)
            if current.cutter.is_full:
                await self._cut(current, is_end=False)
        made.append(await self._end(current))
        made += [_Cutting(file).made() for file in files[len(made) :]]
        await self._flush()
        return made

    async def _end(self, current: _Cutting) -> ArtifactFile:
        await self._cut(current, is_end=True)
        return current.made()

    async def _cut(self, current: _Cutting, *, is_end: bool) -> None:
        cutter = current.cutter
        if cutter.size < SMALL:
            pieces = cutter.cut(is_end=is_end)
        else:
            pieces = await asyncio.to_thread(lambda: cutter.cut(is_end=is_end))
        for piece in pieces:
            current.chunks.append(Chunk(digest=piece.digest.hex(), size_bytes=len(piece.data)))
            await self._hand_over(piece)

    async def _hand_over(self, piece: Piece) -> None:
        for start in range(0, len(piece.data), FRAME):
            data = piece.data[start : start + FRAME]
            size = len(piece.data)
            self._pending.append(BlobPiece(piece.digest.hex(), piece.digest, size, start, data))
            self._pending_bytes += len(data)
            if self._pending_bytes >= _TOGETHER:
                await self._flush()

    async def _flush(self) -> None:
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        if pending:
            await self._intake.take(pending)
