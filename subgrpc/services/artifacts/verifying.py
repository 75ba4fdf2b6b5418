"""Reads whole artifacts from their store, and compares them with their digests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from functools import partial
from typing import Final

from subgrpc.metastore import BlobPlace, FileBatch, Metastore
from subgrpc.services.artifacts.comparing import Verdict, compare
from subgrpc.services.artifacts.files import parsed
from subgrpc.services.blobs import Storage
from subgrpc.v1.artifact_service_pb2 import ArtifactFile, VerifyArtifactResponse

AT_ONCE: Final = 4
"""Jobs that read at the same time."""
JOB_BYTES: Final = 32 << 20
JOB_FILES: Final = 500
"""A job is some files: about so many bytes, at most so many files."""
EVERY: Final = 1.0
"""Seconds between two responses."""


class Verifying:
    """Compares artifacts with their digests."""

    def __init__(self, store: Metastore, storage: Storage) -> None:
        self._store = store
        self._storage = storage

    async def verify(self, uid: str) -> AsyncGenerator[VerifyArtifactResponse, None]:
        """Reads all files of an artifact; tells about every second how far it is.

        Yields:
            The same message each time, with the damaged files since the last time.

        Raises:
            SubgrpcError: the store cannot be read now.
        """
        await self._storage.ready()
        progress = VerifyArtifactResponse()
        stop = threading.Event()
        jobs: set[asyncio.Task[Verdict]] = set()
        loop = asyncio.get_running_loop()
        told = loop.time()
        try:
            async for files, places in self._portions(uid):
                work = partial(compare, self._storage.store, files, places, stop)
                jobs.add(asyncio.ensure_future(self._storage.call(work)))
                while len(jobs) >= AT_ONCE:
                    jobs = await _some(jobs, progress)
                    if loop.time() >= told + EVERY:
                        yield progress
                        del progress.damaged[:]
                        told = loop.time()
            while jobs:
                jobs = await _some(jobs, progress)
            progress.done = True
            yield progress
        finally:
            # A thread cannot be cancelled; it looks at this between two pieces.
            stop.set()
            await asyncio.gather(*jobs, return_exceptions=True)

    async def _portions(
        self, uid: str
    ) -> AsyncIterator[tuple[list[ArtifactFile], Mapping[bytes, BlobPlace]]]:
        """An artifact's files, some at a time, with the places of their blobs."""
        async for batch in self._store.artifacts.batches(uid):
            for files in _cut(batch):
                digests = {bytes.fromhex(each.digest) for file in files for each in file.chunks}
                yield files, await self._store.blobs_of(uid, digests)


def _cut(batch: FileBatch) -> list[list[ArtifactFile]]:
    """A batch as files for one job each."""
    jobs: list[list[ArtifactFile]] = [[]]
    size = 0
    for file in parsed(batch):
        if jobs[-1] and (size + file.size_bytes > JOB_BYTES or len(jobs[-1]) == JOB_FILES):
            jobs.append([])
            size = 0
        jobs[-1].append(file)
        size += file.size_bytes
    return jobs


async def _some(
    jobs: set[asyncio.Task[Verdict]], progress: VerifyArtifactResponse
) -> set[asyncio.Task[Verdict]]:
    """Waits until one is done; returns the others."""
    done, others = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
    for job in done:
        verdict = job.result()
        progress.file_count += verdict.files
        progress.size_bytes += verdict.size
        progress.damaged.extend(verdict.damaged)
    return others
