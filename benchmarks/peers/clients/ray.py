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

    def wait(self, jobs: Sequence[str]) -> int:
        if len(jobs) == 1:
            return asyncio.run(self._follow(jobs[0]))
        return self._poll(set(jobs))

    async def _follow(self, job: str) -> int:
        async for _ in self._client.tail_job_logs(job):
            pass
        return int(self._client.get_job_status(job) != JobStatus.SUCCEEDED)

    def _poll(self, left: set[str]) -> int:
        failed = 0
        while left:
            time.sleep(POLL)
            for job in self._client.list_jobs():
                if job.submission_id in left and job.status.is_terminal():
                    left.discard(job.submission_id)
                    failed += job.status != JobStatus.SUCCEEDED
        return failed

    def read(self, job: str) -> object:
        return self._client.get_job_info(job)
