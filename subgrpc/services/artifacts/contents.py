"""Puts files into artifacts: their blobs are there, and stay there from then on."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from itertools import islice
from typing import Final, TypeVar

from subgrpc.errors import Aborted, FieldViolation, InvalidArgument
from subgrpc.metastore import FileBatch, Metastore, Transaction, artifacts, blobs
from subgrpc.services.artifacts.files import Checked, batches, check, digest_text, parsed
from subgrpc.services.artifacts.paths import NormalForms, Tail
from subgrpc.services.blobs.uploads import blobs_missing
from subgrpc.v1.artifact_service_pb2 import Artifact, ArtifactFile

T = TypeVar("T")

MANY: Final = 200
"""More files than these are looked at in a thread, so that other calls go on meanwhile."""
PORTION: Final = 2_000
"""So many blobs are looked up without letting other calls go on."""
ATTEMPTS: Final = 3
"""So often is looked for blobs again whose objects were condemned a moment later."""


class Contents:
    """The files of artifacts."""

    def __init__(self, store: Metastore) -> None:
        self._store = store

    async def checked(self, files: Sequence[ArtifactFile], tail: Tail) -> Checked:
        """Checks files that follow others; changes them, and the tail.

        Raises:
            InvalidArgument: with what is wrong with which of them.
        """
        return await off_loop(len(files), partial(check, files, tail))

    async def with_objects(
        self, checked: Checked, write: Callable[[Collection[str]], Awaitable[T]]
    ) -> T:
        """Has something written that uses all that the blobs of files are in.

        Args:
            checked: the files.
            write: gets ids of objects; called again if one of them was condemned meanwhile.

        Raises:
            FailedPrecondition: BLOBS_MISSING.
            InvalidArgument: a blob has another size than the files say.
        """
        for _ in range(ATTEMPTS - 1):
            objects = await self._objects(checked)
            try:
                return await write(objects)
            except Aborted as error:
                if error.reason != "OBJECT_CONDEMNED":
                    raise
        return await write(await self._objects(checked))

    async def digest(self, artifact: Artifact, *, normalised: bool) -> tuple[str, int]:
        """The digest of an artifact as it is now, and of how many files.

        Args:
            artifact: the artifact.
            normalised: there are paths that are not in normal form C.

        Raises:
            InvalidArgument: files whose paths differ by their normal form only.
        """
        hasher, forms, count = hashlib.sha256(), NormalForms(), 0

        def look(batch: FileBatch) -> None:
            files = parsed(batch)
            hasher.update(digest_text(files))
            for file in files if normalised else ():
                forms.note(file.path)

        async for batch in self._store.artifacts.batches(artifact.uid):
            await off_loop(batch.file_count, partial(look, batch))
            count += batch.file_count
        if normalised:
            await self._collisions(artifact, forms)
        return hasher.hexdigest(), count

    async def _collisions(self, artifact: Artifact, forms: NormalForms) -> None:
        async for batch in self._store.artifacts.batches(artifact.uid):
            for file in parsed(batch):
                if mistake := forms.collision(file.path):
                    text, word = mistake
                    raise InvalidArgument(violations=[FieldViolation("files", text, word)])
            await asyncio.sleep(0)

    async def _objects(self, checked: Checked) -> set[str]:
        """The objects that the files' blobs are in."""
        found: set[str] = set()
        missing: list[str] = []
        wanted = iter(checked.blobs.items())
        while portion := dict(islice(wanted, PORTION)):
            places = await self._store.blobs(portion)
            for digest, size in portion.items():
                place = places.get(digest)
                if place is None:
                    missing.append(digest.hex())
                elif place.size != size:
                    text = f"blob {digest.hex()} has {place.size} bytes, not {size}"
                    raise InvalidArgument(text, reason="DIGEST_MISMATCH")
                else:
                    found.add(place.object_id)
            await asyncio.sleep(0)
        if missing:
            raise blobs_missing(missing)
        return found


def fill(tx: Transaction, artifact: Artifact, checked: Checked, objects: Collection[str]) -> None:
    """Adds files to an artifact that is stored; it is to be saved afterwards.

    Raises:
        Aborted: OBJECT_CONDEMNED: it must pass through.
    """
    blobs.use(tx, artifact.uid, objects)
    last = artifacts.last_files(tx, artifact.uid)
    artifacts.put_files(tx, artifact.uid, batches(checked.files, last))
    artifact.file_count += len(checked.files)
    artifact.size_bytes += checked.size


async def off_loop(count: int, function: Callable[[], T]) -> T:
    """Calls what looks at so many files: in a thread if they are many."""
    return function() if count <= MANY else await asyncio.to_thread(function)
