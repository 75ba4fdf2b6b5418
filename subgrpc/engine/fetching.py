"""Gives backends the inputs of experiments, before these start: each once, whoever waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from subgrpc.driver import Driver, FilePiece, InputContent, InputFile, SupportsInputs
from subgrpc.ending import end
from subgrpc.errors import DataLoss, NotFound, SubgrpcError
from subgrpc.quantities import show_bytes
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentInput
from subgrpc.workloads import input_of

FIRST_BACKOFF = 0.5
LAST_BACKOFF = 30.0
"""Seconds between two tries while the store or the backend cannot be used."""
TELL_EVERY = 2.0
"""Seconds between two reports of how far it is."""
AT_ONCE = 2
"""Inputs of one cluster that are fetched at the same time."""

_log = structlog.get_logger(__name__)


class ArtifactReader(Protocol):
    """Where inputs are read from."""

    def content(self, name: str, uid: str) -> InputContent:
        """The files of an artifact; reading them raises NotFound if there is none."""


@dataclass(slots=True)
class _Job:
    """One input on its way.

    Attributes:
        waiting: the experiments that wait for it.
        done: bytes so far.
        failure: why it never will be there.
    """

    wanted: ExperimentInput
    waiting: set[str] = field(default_factory=set)
    done: int = 0
    trouble: str = ""
    failure: SubgrpcError | None = None
    work: asyncio.Task[None] | None = None

    def told(self) -> str:
        """How far it is, for a person."""
        far = f"{show_bytes(self.done)} of {show_bytes(self.wanted.size_bytes)}"
        text = f"fetching input {self.wanted.input!r} ({self.wanted.artifact}): {far}"
        return f"{text}; {self.trouble}" if self.trouble else text


class _Counted:
    """A content that tells how much of it was read."""

    def __init__(self, content: InputContent, count: Callable[[int], None]) -> None:
        self._content = content
        self._count = count

    def files(self) -> AsyncIterator[Sequence[InputFile]]:
        return self._content.files()

    async def read(self, files: Sequence[InputFile]) -> AsyncIterator[FilePiece]:
        async for piece in self._content.read(files):
            self._count(len(piece.data))
            yield piece


class InputFetcher:
    """Fetches inputs for the experiments of one cluster."""

    def __init__(
        self, driver: Driver, reader: ArtifactReader | None, changed: Callable[[str], None]
    ) -> None:
        """`changed` is called with the uid of an experiment that is to be looked at again."""
        self._driver = driver if isinstance(driver, SupportsInputs) else None
        self._reader = reader
        self._changed = changed
        self._jobs: dict[str, _Job] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def waits(self, experiment: Experiment) -> str:
        """Sees to it that the backend gets an experiment's inputs; returns what it waits for.

        Raises:
            NotFound, DataLoss: one of them never will be there.
        """
        for each in experiment.inputs:
            job = self._jobs.get(each.digest)
            if job is not None and job.failure is not None:
                del self._jobs[each.digest]
                raise job.failure
            if job is None and not await self._is_there(each):
                job = self._begin(each)
            if job is not None:
                job.waiting.add(experiment.uid)
                return job.told()
        return ""

    async def close(self) -> None:
        """Ends all work; another fetcher begins anew."""
        jobs, self._jobs = list(self._jobs.values()), {}
        await end([job.work for job in jobs if job.work is not None])

    async def _is_there(self, wanted: ExperimentInput) -> bool:
        return self._driver is None or await self._driver.has_input(input_of(wanted))

    def _begin(self, wanted: ExperimentInput) -> _Job:
        job = self._jobs[wanted.digest] = _Job(wanted)
        job.work = asyncio.create_task(self._fetch(job), name=f"input {wanted.digest}")
        return job

    async def _fetch(self, job: _Job) -> None:
        backoff = FIRST_BACKOFF
        while True:
            try:
                async with self._slots:
                    await self._put(job)
                del self._jobs[job.wanted.digest]
                break
            except (NotFound, DataLoss) as error:
                job.failure = error
                break
            except SubgrpcError as error:
                job.trouble = f"{error.message} (it is tried again)"
                _log.warning("inputs.retry", input=job.wanted.artifact, error=error.message)
            except Exception as error:
                job.trouble = f"{type(error).__name__} (it is tried again; see the server's log)"
                _log.exception("inputs.failed", input=job.wanted.artifact)
            self._tell(job)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LAST_BACKOFF)
        self._tell(job)

    async def _put(self, job: _Job) -> None:
        assert self._driver is not None
        assert self._reader is not None
        wanted, job.done = job.wanted, 0
        time = asyncio.get_running_loop().time
        told = time()

        def count(size: int) -> None:
            nonlocal told
            job.done += size
            if time() - told > TELL_EVERY:
                told, job.trouble = time(), ""
                self._tell(job)

        content = _Counted(self._reader.content(wanted.artifact, wanted.artifact_uid), count)
        await self._driver.put_input(input_of(wanted), content)

    def _tell(self, job: _Job) -> None:
        for uid in job.waiting:
            self._changed(uid)
