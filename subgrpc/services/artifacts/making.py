"""Makes artifacts: whole, or batch by batch; for requests, and for the engine without one."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, Collection, Sequence

from subgrpc import names
from subgrpc.errors import AlreadyExists
from subgrpc.metastore import Metastore, Transaction, artifacts
from subgrpc.names import ArtifactName
from subgrpc.services.artifacts.changes import (
    Wanted,
    check_digest,
    check_open,
    new_artifact,
    wrong_offset,
)
from subgrpc.services.artifacts.contents import Contents, fill, off_loop
from subgrpc.services.artifacts.files import Checked, digest_text
from subgrpc.services.artifacts.paths import Tail
from subgrpc.services.artifacts.reading import Reading, load
from subgrpc.services.requests import Once
from subgrpc.v1.artifact_service_pb2 import ARTIFACT_STATE_READY, Artifact, ArtifactFile


class Making:
    """Creates, fills and finishes artifacts."""

    def __init__(self, store: Metastore) -> None:
        self._store = store
        self._contents = Contents(store)
        self._reading = Reading(store)

    async def create_from(
        self, wanted: Wanted, batches: AsyncIterable[Sequence[ArtifactFile]]
    ) -> Artifact:
        """Makes a READY artifact, without a request: for the engine.

        A repeat after a crash is harmless if it has the same `artifact_id` and `source`: what was
        made as a whole is returned, what was not is begun anew.

        Args:
            wanted: what it is to be.
            batches: its files, by path; their blobs are there.

        Raises:
            AlreadyExists: ARTIFACT_EXISTS, from another source.
            InvalidArgument: a file cannot be.
            FailedPrecondition: BLOBS_MISSING.
        """
        once: Once[Artifact] = Once(wanted.creator, "", "", b"", artifacts.by_uid)
        try:
            made = await self.create(wanted, (), once, ready=False)
        except AlreadyExists:
            earlier = await self._earlier(wanted)
            if earlier is not None:
                return earlier
            made = await self.create(wanted, (), once, ready=False)
        assert made is not None, "only a repeat finds nothing"
        async for files in batches:
            made = await self.add(made.name, made.file_count, files)
        return await self.finish(made.name, "")

    async def create(
        self, wanted: Wanted, files: Sequence[ArtifactFile], once: Once[Artifact], *, ready: bool
    ) -> Artifact | None:
        """Stores a new artifact with its first files, which are all if it is to be ready.

        Returns:
            It; None: it is a repeat, and the artifact is gone since.
        """
        checked = await self._contents.checked(files, Tail())
        digest = await off_loop(len(files), lambda: _digest(checked)) if ready else ""
        artifact = new_artifact(wanted)
        artifact.state, artifact.digest = (
            (ARTIFACT_STATE_READY if ready else artifact.state),
            digest,
        )
        tail = b"" if ready else checked.tail.stored()

        async def write(objects: Collection[str]) -> Artifact | None:
            def insert(tx: Transaction) -> Artifact:
                artifact.file_count, artifact.size_bytes = 0, 0
                fill(tx, artifact, checked, objects)
                artifacts.insert(tx, artifact, tail)
                return artifact

            return await once.write(self._store, insert, ordered=True)

        return await self._contents.with_objects(checked, write)

    async def add(self, name: str, offset: int, files: Sequence[ArtifactFile]) -> Artifact:
        """Adds files from an offset, or finds that they are there."""
        parsed = names.parse_artifact(name)
        stored = await self._reading.stored(parsed)
        artifact = Artifact.FromString(stored.body)
        if offset != artifact.file_count:
            # Those that are there may be a repeat; they are compared as they would be stored.
            checked = await self._contents.checked(files, Tail())
            if not await self._reading.has(artifact, offset, checked.files):
                raise wrong_offset(artifact, offset)
            return artifact
        check_open(artifact)
        checked = await self._contents.checked(files, Tail.read(stored.tail))
        uid, tail = artifact.uid, checked.tail.stored()

        async def write(objects: Collection[str]) -> Artifact:
            def add(tx: Transaction) -> Artifact:
                now = load(tx, parsed)
                if (now.uid, now.file_count) != (uid, offset):
                    raise wrong_offset(now, offset)
                check_open(now)
                fill(tx, now, checked, objects)
                artifacts.save(tx, now, tail)
                return now

            return await self._store.write_ordered(add)

        return await self._contents.with_objects(checked, write)

    async def finish(self, name: str, expected: str) -> Artifact:
        """Makes an artifact READY, or finds that it is."""
        parsed = names.parse_artifact(name)
        while True:
            stored = await self._reading.stored(parsed)
            artifact = Artifact.FromString(stored.body)
            if artifact.state == ARTIFACT_STATE_READY:
                check_digest(artifact, artifact.digest, expected)
                return artifact
            normalised = Tail.read(stored.tail).normalised
            artifact.digest, count = await self._contents.digest(artifact, normalised=normalised)
            check_digest(artifact, artifact.digest, expected)
            # None: somebody changed it meanwhile, and it is looked at once more.
            if (done := await self._seal(artifact, count)) is not None:
                return done

    async def _seal(self, looked_at: Artifact, count: int) -> Artifact | None:
        """Makes an artifact READY if it still has so many files."""
        name = names.parse_artifact(looked_at.name)

        def seal(tx: Transaction) -> Artifact | None:
            now = load(tx, name)
            if (now.uid, now.file_count) != (looked_at.uid, count):
                return None
            now.state, now.digest = ARTIFACT_STATE_READY, looked_at.digest
            artifacts.save(tx, now)
            return now

        return await self._store.write_ordered(seal)

    async def _earlier(self, wanted: Wanted) -> Artifact | None:
        """What an earlier attempt to make the same artifact has left; None: nothing by now.

        Raises:
            AlreadyExists: ARTIFACT_EXISTS, it is another one.
        """
        name = ArtifactName(wanted.team, wanted.artifact_id)

        def look(tx: Transaction) -> Artifact | None:
            there = artifacts.by_name(tx, *name)
            if there is None:
                return None
            if wanted.source is None or there.source != wanted.source:
                text = f"there is an artifact {name} already, from elsewhere"
                metadata = {"name": str(name)}
                raise AlreadyExists(text, reason="ARTIFACT_EXISTS", metadata=metadata)
            if there.state == ARTIFACT_STATE_READY:
                return there
            artifacts.delete(tx, there)
            return None

        return await self._store.write_ordered(look)


def _digest(checked: Checked) -> str:
    return hashlib.sha256(digest_text(checked.files)).hexdigest()
