"""The files of artifacts, as downloads need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from subgrpc import names
from subgrpc.errors import NotFound
from subgrpc.metastore import BlobPlace, Metastore, artifacts
from subgrpc.v1.artifact_service_pb2 import Artifact, ArtifactFile, ListArtifactFilesResponse


class StoredFiles:
    """Files and blobs of the artifacts in a metastore."""

    def __init__(self, metastore: Metastore) -> None:
        self._metastore = metastore

    async def blobs_of(self, artifact: str, digests: Sequence[bytes]) -> Mapping[bytes, BlobPlace]:
        """Where blobs of an artifact are; those that it does not have are left out.

        Raises:
            NotFound: ARTIFACT_NOT_FOUND.
        """
        return await self._metastore.blobs_of(await self._uid(artifact), digests)

    async def file_of(self, artifact: str, path: str) -> ArtifactFile:
        """A file of an artifact, with its chunks.

        Raises:
            NotFound: ARTIFACT_NOT_FOUND, FILE_NOT_FOUND.
        """
        uid = await self._uid(artifact)
        number = await self._metastore.artifacts.batch_of_path(uid, path)
        batch = await self._metastore.artifacts.files(uid, number)
        for file in ListArtifactFilesResponse.FromString(batch.body).files if batch else ():
            if file.path == path:
                return file
        text = f"{artifact} has no file {path!r}"
        raise NotFound(text, reason="FILE_NOT_FOUND", metadata={"path": path})

    async def _uid(self, name: str) -> str:
        stored = await self._metastore.artifacts.get(*names.parse_artifact(name))
        if stored is None:
            raise artifacts.missing(name)
        return Artifact.FromString(stored.body).uid
