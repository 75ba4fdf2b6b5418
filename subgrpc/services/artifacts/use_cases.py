"""The use cases of ArtifactService that concern artifacts and not blobs."""

from __future__ import annotations

from typing import Final

from subgrpc import names
from subgrpc.errors import FailedPrecondition, InvalidArgument
from subgrpc.filters import ARTIFACT_FIELDS, parse_filter, parse_order
from subgrpc.metastore import Metastore, Transaction, artifacts
from subgrpc.services import wire
from subgrpc.services.artifacts.changes import CHANGEABLE, Wanted, response
from subgrpc.services.artifacts.making import Making
from subgrpc.services.artifacts.reading import Reading, load
from subgrpc.services.experiment_changes import check_etag, known_team, masked
from subgrpc.services.pages import Pager, page_size
from subgrpc.services.requests import Once
from subgrpc.tokens import TokenCodec
from subgrpc.v1 import artifact_service_pb2 as api
from subgrpc.v1.artifact_service_pb2 import Artifact

ORDERS: Final = ("create_time", "update_time", "artifact_id")


class Artifacts:
    """Unpacks requests, and packs what becomes of them."""

    def __init__(self, store: Metastore, tokens: TokenCodec, making: Making) -> None:
        self._store = store
        self._tokens = tokens
        self._making = making
        self._reading = Reading(store)

    async def create(self, request: api.CreateArtifactRequest, principal: str) -> bytes:
        """Stores a new artifact; with its files, unless more follow, it is READY."""
        once = Once.of(principal, request, artifacts.by_uid)
        wanted = Wanted(
            team=known_team(request.parent),
            creator=principal,
            artifact_id=request.artifact_id,
            display_name=request.artifact.display_name,
            description=request.artifact.description,
            labels=request.artifact.labels,
        )
        request.DiscardUnknownFields()
        try:
            made = await self._making.create(wanted, request.files, once, ready=not request.open)
        except (InvalidArgument, FailedPrecondition):
            # A repeat is answered though, say, a blob that it brought is gone by now.
            if (done := await once.repeated(self._store)) is not None:
                return response(done)
            raise
        if made is None:
            raise artifacts.missing(request.artifact_id or f"of request {request.request_id}")
        return response(made)

    async def add_files(self, request: api.AddArtifactFilesRequest) -> bytes:
        """Adds files to an artifact that is OPEN; those that it has are no mistake."""
        request.DiscardUnknownFields()
        return response(await self._making.add(request.name, request.offset, request.files))

    async def finish(self, request: api.FinishArtifactRequest) -> bytes:
        """Makes an artifact READY: it never changes from then on."""
        return response(await self._making.finish(request.name, request.digest))

    async def get(self, request: api.GetArtifactRequest) -> bytes:
        """Returns an artifact as it is stored, unparsed."""
        stored = await self._reading.stored(names.parse_artifact(request.name))
        return wire.length_delimited(1, stored.body)

    async def list(self, request: api.ListArtifactsRequest) -> bytes:
        """Returns one page of a team's artifacts."""
        team = known_team(request.parent)
        chosen = parse_filter(request.filter, ARTIFACT_FIELDS)
        order = parse_order(request.order_by, ORDERS)
        text = chosen.text if chosen is not None else ""
        pager = Pager(self._tokens, "artifacts", team, text, order.text)
        page = await self._store.artifacts.page(
            team,
            filter=chosen,
            order=order,
            after=pager.start(request.page_token),
            limit=page_size(request.page_size),
        )
        return pager.response(page)

    async def update(self, request: api.UpdateArtifactRequest, principal: str) -> bytes:
        """Changes display name, description and labels, as far as the mask says."""
        wanted = request.artifact
        name = names.parse_artifact(wanted.name, "artifact.name")
        fields = masked(request.update_mask.paths, CHANGEABLE)

        def change(tx: Transaction) -> Artifact:
            artifact = load(tx, name)
            check_etag(artifact, wanted.etag)
            if "display_name" in fields:
                artifact.display_name = wanted.display_name
            if "description" in fields:
                artifact.description = wanted.description
            if "labels" in fields:
                artifact.labels.clear()
                artifact.labels.update(wanted.labels)
            artifacts.save(tx, artifact, artifacts.tail_of(tx, artifact.uid))
            return artifact

        once = Once.of(principal, request, artifacts.by_uid)
        done = await once.write(self._store, change, ordered=True)
        if done is None:
            raise artifacts.missing(wanted.name)
        return response(done)

    async def delete(self, request: api.DeleteArtifactRequest, principal: str) -> bytes:
        """Removes an artifact; what only it needed is removed from the store by and by."""
        name = names.parse_artifact(request.name)

        def change(tx: Transaction) -> Artifact | None:
            if request.allow_missing and artifacts.by_name(tx, *name) is None:
                return None
            artifact = load(tx, name)
            check_etag(artifact, request.etag)
            artifacts.delete(tx, artifact)
            return artifact

        once = Once.of(principal, request, artifacts.by_uid)
        await once.write(self._store, change, ordered=True)
        return b""

    async def list_files(self, request: api.ListArtifactFilesRequest) -> bytes:
        """Returns one page of an artifact's files."""
        stored = await self._reading.stored(names.parse_artifact(request.parent, "parent"))
        uid = Artifact.FromString(stored.body).uid
        pager = Pager(self._tokens, "files", uid, request.path_prefix)
        start = pager.start(request.page_token)
        body, following = await self._reading.page(
            uid, request.path_prefix, start, request.page_size
        )
        if following is None:
            return body
        return body + wire.length_delimited(2, pager.token(following).encode())
