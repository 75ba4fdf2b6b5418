"""Ray's client for jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from ray.job_submission import JobStatus, JobSubmissionClient

from benchmarks.peers.clients.base import Client
from benchmarks.peers.jobs import command

POLL = 1.0
"""Seconds between two looks at many jobs, as in Ray's documentation."""


class Peer(Client):
    """Ray Jobs; it waits for one by following its output, as `ray job submit` does."""

    _connected: JobSubmissionClient | None = None

    @property
    def _client(self) -> JobSubmissionClient:
        if self._connected is None:  # it connects at once, so the server has to be there
            self._connected = JobSubmissionClient(f"http://{self.address}")
        return self._connected

    def page(self, size: int) -> int:  # it has no pages: all jobs come
        return len(self._client.list_jobs())

    def submit(self, target: Path | None) -> str:
        return str(self._client.submit_job(entrypoint=command(target)))

    def wait(self, jobs: Sequence[str]) -> None:
        if len(jobs) == 1:
            asyncio.run(self._follow(jobs[0]))
        else:
            self._poll(set(jobs))

    async def _follow(self, job: str) -> None:
        async for _ in self._client.tail_job_logs(job):
            pass
        status = self._client.get_job_status(job)
        if status != JobStatus.SUCCEEDED:
            raise RuntimeError(f"{job}: {status}")

    def _poll(self, left: set[str]) -> None:
        while left:
            time.sleep(POLL)
            for job in self._client.list_jobs():
                if job.status in (JobStatus.FAILED, JobStatus.STOPPED):
                    raise RuntimeError(f"{job.submission_id}: {job.status}: {job.message}")
                if job.status == JobStatus.SUCCEEDED:
                    left.discard(job.submission_id)

    def read(self, job: str) -> object:
        return self._client.get_job_info(job)
