"""The local driver's part that gives runs their inputs."""

from __future__ import annotations

import asyncio

from subgrpc.driver import InputContent, SupportsInputs, WorkloadInput
from subgrpc.driver.local.cache import InputCache
from subgrpc.driver.local.folders import INPUTS, disk
from subgrpc.driver.local.state import LocalRun


class LocalInputs(SupportsInputs):
    """Keeps inputs on this host, and gives them to runs."""

    _cache: InputCache

    async def has_input(self, wanted: WorkloadInput) -> bool:
        """Whether the cache has it."""
        with disk():
            return self._cache.has(wanted.digest)

    async def put_input(self, wanted: WorkloadInput, content: InputContent) -> None:
        """Puts it into the cache."""
        with disk():
            await self._cache.put(wanted, content)

    async def place_inputs(self, run: LocalRun) -> None:
        """Gives a run what it has not got yet.

        Raises:
            Unavailable: INPUT_MISSING.
        """
        for each in run.workload.inputs:
            target = run.folder / INPUTS / each.name
            with disk():
                if not target.exists():
                    await asyncio.to_thread(self._cache.place, each.digest, target)
