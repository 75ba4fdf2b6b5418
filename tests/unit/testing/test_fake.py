"""The fake driver does what a test tells it to. (That it keeps the contract: test_contract.)"""

from __future__ import annotations

import asyncio

import pytest

from subgrpc.driver import (
    ClusterConfig,
    Driver,
    Gone,
    LogChunk,
    LogGap,
    Observation,
    Synced,
    TaskKey,
)
from subgrpc.errors import NotFound, Unavailable
from subgrpc.plugins import PluginManager
from subgrpc.testing.contract import Suite
from subgrpc.testing.fake import FakeBackend
from subgrpc.v1.types_pb2 import LogStream, TaskState

STDOUT = LogStream.LOG_STREAM_STDOUT
CONFIG = ClusterConfig("fake", "/nowhere", {})


class TestScript(Suite):
    """What a test can make the fake do."""

    @pytest.fixture
    def backend(self) -> FakeBackend:
        return FakeBackend()

    @pytest.fixture
    def driver(self, backend: FakeBackend) -> Driver:
        manager = PluginManager()
        manager.register(backend.plugin())
        return manager.driver("fake").from_config(CONFIG)

    async def test_observe(self, backend: FakeBackend, driver: Driver) -> None:
        """Tasks are in the state that the test says, and watchers see each change."""
        run = await self.submit(driver, self.workload())
        key = (run.experiment_uid, 1)
        watch = driver.watch(run.control_plane_id)
        first, synced = await anext(watch), await anext(watch)
        assert isinstance(first, Observation)
        assert first.tasks[0].state == TaskState.TASK_STATE_QUEUED
        assert synced == Synced()
        backend.observe(key, "main", 0, TaskState.TASK_STATE_FAILED, exit_code=3)
        seen = await anext(watch)
        assert isinstance(seen, Observation)
        assert seen.tasks[0].exit_code == 3
        assert seen.tasks[0].HasField("end_time")
        backend.vanish(key)
        assert await anext(watch) == Gone(run)
        with pytest.raises(NotFound):
            await driver.get(run)

    async def test_outage(self, backend: FakeBackend, driver: Driver) -> None:
        """During an outage every call is Unavailable, and never says NotFound."""
        run = await self.submit(driver, self.workload())
        watch = driver.watch(run.control_plane_id)
        await anext(watch)
        await anext(watch)
        backend.outage = "the network is down"
        for call in (driver.get(run), driver.delete(run), anext(watch)):
            with pytest.raises(Unavailable, match="the network is down"):
                await call
        backend.outage = ""
        assert (await driver.get(run)).tasks[0].state == TaskState.TASK_STATE_QUEUED

    async def test_output_with_a_gap(self, backend: FakeBackend, driver: Driver) -> None:
        """Output is read from any offset, and lost output is a gap."""
        run = await self.submit(driver, self.workload())
        key = (run.experiment_uid, 1)
        backend.write(key, "main", 0, b"abc")
        backend.lose(key, "main", 0, 10)
        backend.write(key, "main", 0, b"d")
        backend.observe(key, "main", 0, TaskState.TASK_STATE_SUCCEEDED)
        read = [p async for p in driver.logs(run, TaskKey("main", 0), STDOUT, 2, follow=True)]
        assert read == [
            LogChunk(offset=2, data=b"c"),
            LogGap(offset=3, length=10, message="lost"),
            LogChunk(offset=13, data=b"d"),
        ]

    async def test_follow_waits(self, backend: FakeBackend, driver: Driver) -> None:
        """A follower is woken by what is written, and ends with the task."""
        run = await self.submit(driver, self.workload())
        key = (run.experiment_uid, 1)

        async def follow() -> bytes:
            pieces = driver.logs(run, TaskKey("main", 0), STDOUT, 0, follow=True)
            return b"".join([p.data async for p in pieces if isinstance(p, LogChunk)])

        following = asyncio.create_task(follow())
        await asyncio.sleep(0)
        backend.write(key, "main", 0, b"late")
        await asyncio.sleep(0)
        backend.observe(key, "main", 0, TaskState.TASK_STATE_SUCCEEDED)
        assert await following == b"late"
