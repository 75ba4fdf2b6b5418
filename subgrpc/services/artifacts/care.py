"""The use cases of ArtifactService that look after the store: VerifyArtifact and the collector."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta

from subgrpc import names
from subgrpc.metastore import Metastore
from subgrpc.services.artifacts.garbage import GRACE, Collector
from subgrpc.services.artifacts.reading import Reading
from subgrpc.services.artifacts.verifying import Verifying
from subgrpc.services.blobs import Storage
from subgrpc.v1 import artifact_service_pb2 as api
from subgrpc.v1.artifact_service_pb2 import Artifact


class Care:
    """VerifyArtifact and CollectArtifactGarbage."""

    def __init__(self, metastore: Metastore, storage: Storage, collector: Collector) -> None:
        self._reading = Reading(metastore)
        self._verifying = Verifying(metastore, storage)
        self._collector = collector

    async def verify(
        self, request: api.VerifyArtifactRequest
    ) -> AsyncIterator[api.VerifyArtifactResponse]:
        """Reads a whole artifact, and tells what of it is damaged."""
        stored = await self._reading.stored(names.parse_artifact(request.name))
        uid = Artifact.FromString(stored.body).uid
        async with aclosing(self._verifying.verify(uid)) as responses:
            async for response in responses:
                yield response

    async def collect(
        self, request: api.CollectArtifactGarbageRequest
    ) -> AsyncIterator[api.CollectArtifactGarbageResponse]:
        """Removes what nothing refers to, or only counts it."""
        asked = request.HasField("grace")
        grace: timedelta = request.grace.ToTimedelta() if asked else GRACE
        if request.validate_only:
            yield await self._collector.estimate(grace)
            return
        async with aclosing(self._collector.collect(grace)) as responses:
            async for response in responses:
                yield response
