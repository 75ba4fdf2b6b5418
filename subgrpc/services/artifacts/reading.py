"""Finds artifacts and their files, as they are stored."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from subgrpc.metastore import Metastore, StoredArtifact, Transaction, artifacts
from subgrpc.names import ArtifactName
from subgrpc.services.artifacts.files import parsed
from subgrpc.services.pages import Key
from subgrpc.v1.artifact_service_pb2 import Artifact, ArtifactFile, ListArtifactFilesResponse

PAGE: Final = 1_000
"""Files of a page, unless asked otherwise."""
PAGE_BYTES: Final = 3 << 20
"""A page ends when its files come to this."""


class Reading:
    """The files of artifacts, as they are stored."""

    def __init__(self, store: Metastore) -> None:
        self._store = store

    async def page(
        self, uid: str, prefix: str, start: Key | None, asked: int
    ) -> tuple[bytes, Key | None]:
        """One page of files.

        Args:
            uid: the artifact.
            prefix: of their paths.
            start: a batch, and how many of its files come before; None: the first of them.
            asked: how many; 0: `PAGE`.

        Returns:
            Serialised, in field 1; where the next page starts; None: there is none.
        """
        reads = self._store.artifacts
        number, skip = start or (await reads.batch_of_path(uid, prefix) if prefix else 0, 0)
        left, size, parts = asked or PAGE, 0, list[bytes]()
        while (batch := await reads.files(uid, number)) is not None:
            if left == 0 or (parts and size + len(batch.body) > PAGE_BYTES):
                return b"".join(parts), [number, skip]
            if not prefix and not skip and batch.file_count <= left:
                # Nearly always: whole batches, as they are.
                parts.append(batch.body)
                left, size, number = left - batch.file_count, size + len(batch.body), number + 1
                continue
            files = parsed(batch)
            begin, end, last = _matching(files, prefix, skip)
            taken = files[begin : min(end, begin + left)]
            parts.append(ListArtifactFilesResponse(files=taken).SerializeToString())
            if begin + len(taken) < end:
                return b"".join(parts), [number, begin + len(taken)]
            if last:
                break
            left, size, number, skip = left - len(taken), size + len(parts[-1]), number + 1, 0
        return b"".join(parts), None

    async def has(self, artifact: Artifact, offset: int, files: Sequence[ArtifactFile]) -> bool:
        """Whether an artifact has exactly these files from an offset on."""
        if offset + len(files) > artifact.file_count:
            return False
        reads, begin, done = self._store.artifacts, 0, 0
        for number, count in enumerate(await reads.file_counts(artifact.uid)):
            if begin + count > offset + done and done < len(files):
                batch = await reads.files(artifact.uid, number)
                there = parsed(batch)[offset + done - begin :] if batch is not None else []
                wanted = files[done : done + len(there)]
                if list(there[: len(wanted)]) != list(wanted):
                    return False
                done += len(wanted)
            begin += count
        return done == len(files)

    async def stored(self, name: ArtifactName) -> StoredArtifact:
        """The artifact of that name.

        Raises:
            NotFound: ARTIFACT_NOT_FOUND.
        """
        found = await self._store.artifacts.get(*name)
        if found is None:
            raise artifacts.missing(str(name))
        return found


def load(tx: Transaction, name: ArtifactName) -> Artifact:
    """The artifact of that name, to be changed.

    Raises:
        NotFound: ARTIFACT_NOT_FOUND.
    """
    artifact = artifacts.by_name(tx, *name)
    if artifact is None:
        raise artifacts.missing(str(name))
    return artifact


def _matching(files: Sequence[ArtifactFile], prefix: str, skip: int) -> tuple[int, int, bool]:
    """Which of a batch's files have a prefix: from, to, and whether later ones cannot."""
    begin = max(skip, bisect_left(files, prefix, key=lambda file: file.path))
    end = bisect_left(files, True, lo=begin, key=lambda file: not file.path.startswith(prefix))
    return begin, end, end < len(files)
