"""The calls of ArtifactService: one method each, with the answer's resource, not its envelope."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import timedelta
from typing import TypeVar

import grpc

from subgrpc.client.aio.connection import AsyncCall, AsyncFlag, AsyncReader
from subgrpc.client.aio.unary import DEFAULT_PARENT, AsyncUnaryCalls
from subgrpc.client.patience import PATIENCE, Patience
from subgrpc.client.statuses import from_rpc, is_connection_loss
from subgrpc.v1 import artifact_service_pb2 as v1
from subgrpc.v1.artifact_service_pb2 import Artifact, ArtifactFile

FrameT = TypeVar("FrameT")


class AsyncArtifactCalls(AsyncUnaryCalls):
    """The methods of `AsyncCalls` that are about artifacts."""

    async def create_artifact(
        self,
        artifact: Artifact,
        files: Iterable[ArtifactFile],
        *,
        parent: str = DEFAULT_PARENT,
        artifact_id: str = "",
        more_follow: bool = False,
        request_id: str = "",
    ) -> Artifact:
        """Creates an artifact from blobs that were uploaded; it is READY unless `more_follow`."""
        request = v1.CreateArtifactRequest(
            parent=parent,
            artifact_id=artifact_id,
            artifact=artifact,
            files=files,
            open=more_follow,
            request_id=request_id or str(uuid.uuid4()),
        )
        call = self._connection.call
        return (await call(self._connection.artifacts.CreateArtifact, request)).artifact

    async def add_artifact_files(
        self, name: str, offset: int, files: Iterable[ArtifactFile]
    ) -> Artifact:
        """Adds the next files, by path, to an OPEN artifact that has `offset` of them."""
        request = v1.AddArtifactFilesRequest(name=name, offset=offset, files=files)
        call = self._connection.call
        return (await call(self._connection.artifacts.AddArtifactFiles, request)).artifact

    async def finish_artifact(self, name: str, *, digest: str = "") -> Artifact:
        """Makes an OPEN artifact READY."""
        request = v1.FinishArtifactRequest(name=name, digest=digest)
        call = self._connection.call
        return (await call(self._connection.artifacts.FinishArtifact, request)).artifact

    async def get_artifact(self, name: str) -> Artifact:
        """Returns one artifact."""
        request = v1.GetArtifactRequest(name=name)
        call = self._connection.call
        return (await call(self._connection.artifacts.GetArtifact, request)).artifact

    def list_artifacts(
        self,
        *,
        parent: str = DEFAULT_PARENT,
        filter: str = "",  # noqa: A002 - the name of the request's field
        order_by: str = "",
        page_size: int = 0,
    ) -> AsyncIterator[Artifact]:
        """Yields artifacts, page after page, newest first unless `order_by` says otherwise."""
        request = v1.ListArtifactsRequest(
            parent=parent, filter=filter, order_by=order_by, page_size=page_size
        )
        return self._pages(
            lambda: self._connection.artifacts.ListArtifacts,
            request,
            lambda page: page.artifacts,
        )

    def list_artifact_files(
        self, parent: str, *, path_prefix: str = "", page_size: int = 0
    ) -> AsyncIterator[ArtifactFile]:
        """Yields the files of an artifact by path, those whose path starts with a prefix."""
        request = v1.ListArtifactFilesRequest(
            parent=parent, path_prefix=path_prefix, page_size=page_size
        )
        return self._pages(
            lambda: self._connection.artifacts.ListArtifactFiles,
            request,
            lambda page: page.files,
        )

    async def update_artifact(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        display_name: str | None = None,
        description: str | None = None,
        etag: str = "",
        request_id: str = "",
    ) -> Artifact:
        """Replaces what is given of an artifact; None leaves it alone."""
        request = v1.UpdateArtifactRequest(request_id=request_id or str(uuid.uuid4()))
        request.artifact.name, request.artifact.etag = name, etag
        if labels is not None:
            request.artifact.labels.update(labels)
            request.update_mask.paths.append("labels")
        if display_name is not None:
            request.artifact.display_name = display_name
            request.update_mask.paths.append("display_name")
        if description is not None:
            request.artifact.description = description
            request.update_mask.paths.append("description")
        if not request.update_mask.paths:
            return await self.get_artifact(name)
        call = self._connection.call
        return (await call(self._connection.artifacts.UpdateArtifact, request)).artifact

    async def delete_artifact(
        self, name: str, *, allow_missing: bool = False, etag: str = "", request_id: str = ""
    ) -> None:
        """Deletes an artifact for good."""
        request = v1.DeleteArtifactRequest(
            name=name,
            etag=etag,
            allow_missing=allow_missing,
            request_id=request_id or str(uuid.uuid4()),
        )
        await self._connection.call(self._connection.artifacts.DeleteArtifact, request)

    async def find_missing_blobs(
        self, digests: Iterable[str], *, parent: str = DEFAULT_PARENT
    ) -> v1.FindMissingBlobsResponse:
        """Tells which of at most 10,000 blobs have to be uploaded."""
        request = v1.FindMissingBlobsRequest(parent=parent, digests=digests)
        return await self._connection.call(self._connection.artifacts.FindMissingBlobs, request)

    async def sign_blob_uploads(
        self, blobs: Iterable[v1.Chunk], *, parent: str = DEFAULT_PARENT
    ) -> list[v1.SignedRequest]:
        """Returns requests by which at most 100 blobs can be sent to the store itself."""
        request = v1.SignBlobUploadsRequest(parent=parent, blobs=blobs)
        call = self._connection.call
        answer = await call(self._connection.artifacts.SignBlobUploads, request)
        return list(answer.requests)

    async def commit_blobs(self, tokens: Iterable[str], *, parent: str = DEFAULT_PARENT) -> None:
        """Makes at most 100 blobs known that were sent by signed requests."""
        request = v1.CommitBlobsRequest(parent=parent, upload_tokens=tokens)
        await self._connection.call(self._connection.artifacts.CommitBlobs, request)

    async def sign_blob_downloads(
        self, parent: str, digests: Iterable[str]
    ) -> list[v1.SignedRequest]:
        """Returns requests that read at most 100 blobs of an artifact from the store itself."""
        request = v1.SignBlobDownloadsRequest(parent=parent, digests=digests)
        call = self._connection.call
        answer = await call(self._connection.artifacts.SignBlobDownloads, request)
        return list(answer.requests)

    async def download_artifact_file(
        self,
        name: str,
        path: str,
        *,
        offset: int = 0,
        length: int = 0,
        patience: float = PATIENCE,
    ) -> AsyncIterator[bytes]:
        """Yields the bytes of a file, or of a range of it; it goes on over lost connections.

        A server that cannot be reached from the start is an error at once.
        """
        state = Patience(patience)
        begin, end = offset, offset + length if length else 0
        while True:
            request = v1.DownloadArtifactFileRequest(
                name=name, path=path, offset=offset, length=end and end - offset
            )
            call = self._connection.artifact_streams.DownloadArtifactFile(
                request, metadata=self._connection.target.metadata
            )
            reader: AsyncReader[v1.DownloadArtifactFileResponse] = AsyncReader(
                call, self._connection
            )
            try:
                while (frame := await reader.read()) is not None:
                    offset += len(frame.data)
                    state.progress()
                    yield frame.data
            except grpc.RpcError as error:
                found = from_rpc(error, self.address)
                if offset == begin or not is_connection_loss(error) or state.is_over():
                    raise found from error
                if end and offset >= end:
                    return
            else:
                return
            finally:
                reader.cancel()
            await AsyncFlag().pause(state.pause())

    def verify_artifact(self, name: str) -> AsyncIterator[v1.VerifyArtifactResponse]:
        """Lets the server read a whole artifact and compare it with its digests."""
        request = v1.VerifyArtifactRequest(name=name)
        return self._artifact_frames(
            lambda: self._connection.artifact_streams.VerifyArtifact(
                request, metadata=self._connection.target.metadata
            )
        )

    def collect_artifact_garbage(
        self, *, grace: timedelta | None = None, validate_only: bool = False
    ) -> AsyncIterator[v1.CollectArtifactGarbageResponse]:
        """Lets the server remove what nothing refers to, after `grace` (an hour)."""
        request = v1.CollectArtifactGarbageRequest(validate_only=validate_only)
        if grace is not None:
            request.grace.FromTimedelta(grace)
        return self._artifact_frames(
            lambda: self._connection.artifact_streams.CollectArtifactGarbage(
                request, metadata=self._connection.target.metadata
            )
        )

    async def _artifact_frames(
        self, open_call: Callable[[], AsyncCall[FrameT]]
    ) -> AsyncIterator[FrameT]:
        reader = AsyncReader(open_call(), self._connection)
        try:
            while (frame := await reader.read()) is not None:
                yield frame
        except grpc.RpcError as error:
            raise from_rpc(error, self.address) from error
        finally:
            reader.cancel()
