"""The local driver when its disk refuses, or somebody removes its folders."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from subgrpc.driver import LogChunk, TaskKey, Workload
from subgrpc.driver.local import folders, recovery
from subgrpc.driver.local.admission import Demand, Ledger
from subgrpc.driver.local.driver import LocalDriver
from subgrpc.driver.local.host import Host
from subgrpc.driver.local.placement import Queue
from subgrpc.driver.local.state import LocalRun, LocalTask, queued
from subgrpc.errors import NotFound
from subgrpc.testing.contract import MAIN, Suite
from subgrpc.v1.types_pb2 import LogStream, TaskState
from tests.unit.local_driver.conftest import MakeDriver


def waiting(folder: Path, number: int) -> LocalRun:
    """A run of one task that waits; its folder is not made."""
    key = TaskKey("main", 0)
    task = LocalTask(key, folder / str(key), Demand(100), queued(key))
    return LocalRun((f"uid{number}", 1), folder, Workload(), number, {key: task}, secrets={})


def test_what_was_placed_before_the_disk_refused_is_started(tmp_path: Path) -> None:
    """The second run cannot be placed now: the first is returned, so that it starts."""
    queue = Queue(Ledger(Host(cpu=1000, memory=1 << 30, gpus=(), cgroup="")))
    first, second = waiting(tmp_path / "1", 1), waiting(tmp_path / "2", 2)
    first.folder.mkdir()
    queue.add(first)
    queue.add(second)
    assert queue.place() == [first]
    with pytest.raises(FileNotFoundError):
        queue.place()
    second.folder.mkdir()
    assert queue.place() == [second]


class TestFaults(Suite):
    """With real processes."""

    async def test_output_of_a_run_that_vanished_ends(self, driver: LocalDriver) -> None:
        """A run is gone only when nothing of it runs; who follows its output is told so then."""
        run = await self.submit(driver, self.workload("sh", "-c", "echo hello; exec sleep 60"))
        logs = driver.logs(run, MAIN, LogStream.LOG_STREAM_STDOUT, 0, follow=True)
        assert await anext(logs) == LogChunk(offset=0, data=b"hello\n")
        pid, _ = folders.read_claim(driver.folder_of(run) / "main-0")
        shutil.rmtree(driver.folder_of(run))
        began = time.monotonic()
        assert [piece async for piece in logs] == []
        assert time.monotonic() - began < 9
        with pytest.raises(NotFound):
            await driver.get(run)
        assert recovery._processes(f"{run.experiment_uid}-1-main-0", "") == set()
        await self.eventually(lambda: gone(pid))

    @pytest.mark.parametrize("damaged", ["workload.pb", "order", "placed"])
    async def test_a_damaged_run_harms_no_other(
        self, make_driver: MakeDriver, damaged: str
    ) -> None:
        """A crash of the host left an empty file: that run is not found, the driver works."""
        first = await make_driver()
        run = await self.submit(first, self.workload("true"))
        other = await self.submit(first, self.workload("true"))
        for each in (run, other):
            await self.ended(first, each)
        await first.close()
        (first.folder_of(run) / damaged).write_bytes(b"")
        second = await make_driver()
        assert (await second.get(other)).tasks[0].state == TaskState.TASK_STATE_SUCCEEDED
        with pytest.raises(NotFound):
            await second.get(run)
        await second.delete(run)
        assert not second.folder_of(run).exists()

    async def test_a_task_that_locks_us_out_harms_no_other(self, driver: LocalDriver) -> None:
        """Its folder cannot be read: the others are looked at all the same."""
        script = "echo ready; exec sleep 60"
        run = await self.submit(driver, self.workload("sh", "-c", script))
        other = await self.submit(driver, self.workload("sh", "-c", "echo ready"))
        for each in (run, other):
            await self.first_chunk(driver, each)
        folder = driver.folder_of(run) / "main-0"
        (folder / "lock").rename(folder / "away")
        (folder / "lock").symlink_to(folder / "lock")  # ELOOP, also for root
        driver._look_at_all()
        [task] = await self.ended(driver, other)
        assert task.state == TaskState.TASK_STATE_SUCCEEDED
        (folder / "away").replace(folder / "lock")
        for each in (run, other):
            await driver.delete(each)


async def gone(pid: int) -> bool | None:
    """Whether a process has ended; a zombie has."""
    return True if state_of(pid) in "Z" else None


def state_of(pid: int) -> str:
    """The letter of a process's state; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return ""
