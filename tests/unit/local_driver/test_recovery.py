"""Servers and supervisors that are killed: tasks go on, or are cleaned up; none runs twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from subgrpc.driver import Gone, Observation, TaskKey
from subgrpc.driver.local import notify
from subgrpc.driver.local.driver import LocalDriver
from subgrpc.driver.local.folders import read_claim
from subgrpc.testing.contract import ENDED, RUNNING, Suite
from subgrpc.v1.types_pb2 import TaskState
from tests.unit.local_driver.conftest import MakeDriver
from tests.unit.local_driver.processes import marked


class TestRecovery(Suite):
    """Nothing that dies takes a task's outcome with it."""

    async def test_a_task_outlives_its_driver(self, make_driver: MakeDriver) -> None:
        """Another driver on the same folder sees it through, with all of its output."""
        first = await make_driver()
        script = "echo one; while [ ! -e go ]; do sleep 0.02; done; echo two; exit 3"
        workload = self.workload("sh", "-c", script)
        run = await self.submit(first, workload)
        await self.until(first, run, RUNNING)
        await first.close()
        second = await make_driver()
        await second.submit(workload, run, {})
        assert (await second.get(run)).tasks[0].state == TaskState.TASK_STATE_RUNNING
        assert (await second.describe()).allocated.cpu == "10m"
        (second.folder_of(run) / "main-0" / "work" / "go").touch()
        assert await self.output(second, run, offset=4) == b"two\n"
        [task] = await self.ended(second, run)
        assert task.exit_code == 3
        assert (await second.describe()).allocated.cpu == "0"

    async def test_an_end_that_nobody_saw(self, make_driver: MakeDriver) -> None:
        """A task that ended while no driver was there is observed by the next one."""
        first = await make_driver()
        run = await self.submit(first, self.workload("sh", "-c", "exit 5"))
        folder = first.folder_of(run)
        await first.close()

        async def has_ended() -> bool | None:
            return '"ended"' in _text(folder / "main-0" / "status.json") or None

        await self.eventually(has_ended)
        second = await make_driver()
        async for seen in second.watch(run.control_plane_id):
            assert isinstance(seen, Observation)
            assert seen.tasks[0].exit_code == 5
            break

    async def test_a_killed_supervisor(self, driver: LocalDriver) -> None:
        """Its task is Lost, and nothing of it is left, daemons neither."""
        script = "(setsid sleep 600 &); trap '' TERM; echo ready; sleep 600"
        run = await self.submit(driver, self.workload("sh", "-c", script))
        await self.first_chunk(driver, run)
        folder = driver.folder_of(run) / "main-0"
        os.kill(read_claim(folder)[0], signal.SIGKILL)
        [task] = await self.ended(driver, run)
        assert (task.state, task.reason) == (TaskState.TASK_STATE_FAILED, "Lost")
        assert marked(run.experiment_uid) == []

    async def test_a_supervisor_killed_while_no_driver_was_there(
        self, make_driver: MakeDriver
    ) -> None:
        """The next driver notices and cleans up."""
        first = await make_driver()
        script = "(setsid sleep 600 &); echo ready; sleep 600"
        run = await self.submit(first, self.workload("sh", "-c", script))
        await self.first_chunk(first, run)
        pid, _ = read_claim(first.folder_of(run) / "main-0")
        await first.close()
        os.kill(pid, signal.SIGKILL)
        second = await make_driver()
        [task] = await self.ended(second, run)
        assert task.reason == "Lost"
        assert marked(run.experiment_uid) == []

    async def test_a_stopped_task_whose_supervisor_died(self, driver: LocalDriver) -> None:
        """It was to be stopped, and it is gone: CANCELLED."""
        run = await self.submit(
            driver, self.workload("sh", "-c", "trap '' TERM; echo r; sleep 600")
        )
        await self.first_chunk(driver, run)
        await driver.stop(run, grace=timedelta(seconds=600))
        os.kill(read_claim(driver.folder_of(run) / "main-0")[0], signal.SIGKILL)
        [task] = await self.ended(driver, run)
        assert task.state == TaskState.TASK_STATE_CANCELLED

    async def test_a_task_that_stopped_its_supervisor(self, driver: LocalDriver) -> None:
        """It can be stopped all the same."""
        script = "kill -STOP $PPID; echo r; sleep 600"
        run = await self.submit(driver, self.workload("sh", "-c", script))
        await self.first_chunk(driver, run)
        await driver.stop(run, grace=timedelta(seconds=1))
        [task] = await self.ended(driver, run)
        assert task.state == TaskState.TASK_STATE_CANCELLED
        assert marked(run.experiment_uid) == []

    async def test_two_drivers_submit_at_once(self, make_driver: MakeDriver) -> None:
        """Whoever submits, and however often: each task is started once."""
        drivers = [await make_driver() for _ in range(3)]
        workload = self.workload("sh", "-c", "echo x >> ../ran", replicas=4)
        run = await self.submit(drivers[0], workload)
        await asyncio.gather(*(each.submit(workload, run, {}) for each in drivers * 3))
        tasks = await self.ended(drivers[0], run)
        assert {task.exit_code for task in tasks} == {0}
        folder = drivers[0].folder_of(run)
        assert [(folder / f"main-{n}" / "ran").read_text() for n in range(4)] == ["x\n"] * 4
        for each in drivers:
            await self.ended(each, run)

    async def test_a_waiting_run_after_a_restart(self, make_driver: MakeDriver) -> None:
        """It is QUEUED until the server hands over its secrets again, then it takes its turn."""
        first = await make_driver(cpu=1)
        big = self.workload()
        big.groups[0].resources.cpu = "1"
        running = await self.submit(first, big)
        workload = self.workload("sh", "-c", 'echo "$TOKEN"')
        workload.groups[0].secret_env["TOKEN"] = "key"
        run = await self.submit(first, workload, {"key": b"s3cret"})
        await first.close()
        assert b"s3cret" not in _everything(first.folder_of(run))
        second = await make_driver(cpu=1)
        await second.delete(running)
        assert (await second.get(run)).tasks[0].state == TaskState.TASK_STATE_QUEUED
        await second.submit(workload, run, {"key": b"s3cret"})
        [task] = await self.ended(second, run)
        assert task.state == TaskState.TASK_STATE_SUCCEEDED
        assert await self.output(second, run) == b"s3cret\n"

    async def test_a_server_killed_between_two_starts(self, make_driver: MakeDriver) -> None:
        """Tasks of a placed run that never started are started when it is submitted again."""
        first = await make_driver()
        workload = self.workload(replicas=2)
        run = await self.submit(first, workload)
        await self.until(first, run, RUNNING)
        folder = first.folder_of(run)
        await first.stop(run, [TaskKey("main", 1)], grace=timedelta(0))
        await self.until(first, run, lambda seen: seen.tasks[1].state in ENDED)
        await first.close()
        for path in sorted((folder / "main-1").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        second = await make_driver()
        states = [task.state for task in (await second.get(run)).tasks]
        assert states == [TaskState.TASK_STATE_RUNNING, TaskState.TASK_STATE_QUEUED]
        await second.submit(workload, run, {})
        await self.until(second, run, RUNNING)
        await second.delete(run)
        assert marked(run.experiment_uid) == []

    async def test_a_killed_server(self, tmp_path: Path, make_driver: MakeDriver) -> None:
        """kill -9 of the process with the driver harms no task."""
        program = (
            "import asyncio, sys\n"
            "from tests.unit.local_driver.test_recovery import submit_and_hang\n"
            "asyncio.run(submit_and_hang(sys.argv[1]))\n"
        )
        server = subprocess.Popen(  # noqa: ASYNC220 - nothing else goes on here
            [sys.executable, "-c", program, str(tmp_path / "data")],
            stdout=subprocess.PIPE,
            start_new_session=True,
            cwd=Path(__file__).parents[3],
        )
        assert server.stdout is not None
        loop = asyncio.get_running_loop()
        uid = (await loop.run_in_executor(None, server.stdout.readline)).decode().strip()
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        server.stdout.close()
        driver = await make_driver()
        workload = self.workload()
        workload.experiment_uid = uid
        seen = await anext(driver.watch(workload.control_plane_id))
        assert isinstance(seen, Observation)
        run = seen.run
        assert run.experiment_uid == uid
        await self.until(driver, run, RUNNING)
        (driver.folder_of(run) / "main-0" / "work" / "go").touch()
        [task] = await self.ended(driver, run)
        assert task.exit_code == 3
        assert await self.output(driver, run) == b"one\ntwo\n"

    async def test_a_run_that_vanished(self, driver: LocalDriver) -> None:
        """A run whose folder somebody removed is gone, and its resources are free."""
        run = await self.submit(driver, self.workload("true"))
        await self.ended(driver, run)
        folder = driver.folder_of(run)
        folder.rename(folder.with_name(".removed"))
        watch = driver.watch(run.control_plane_id)
        async for item in watch:
            if isinstance(item, Gone):
                break

    async def test_without_inotify(
        self, make_driver: MakeDriver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the kernel has nothing free to watch with, everything is seen a little later."""

        def refuse(*_: object, **__: object) -> None:
            raise OSError(24, "too many instances")

        monkeypatch.setattr(notify, "Inotify", refuse)  # the library's, as the kernel makes it fail
        driver = await make_driver()
        run = await self.submit(driver, self.workload("sh", "-c", "echo a; sleep 1.5; echo b"))
        states = []
        async for item in driver.watch(run.control_plane_id):
            if isinstance(item, Observation):
                states.append(item.tasks[0].state)
                if states[-1] in ENDED:
                    break
        assert TaskState.TASK_STATE_RUNNING in states
        assert await self.output(driver, run) == b"a\nb\n"


async def submit_and_hang(data_dir: str) -> None:
    """What the killed server does."""
    from subgrpc.driver import ClusterConfig

    driver = LocalDriver.from_config(ClusterConfig("local", data_dir, {}))
    await driver.start()
    suite = Suite()
    script = "echo one; while [ ! -e go ]; do sleep 0.02; done; echo two; exit 3"
    run = await suite.submit(driver, suite.workload("sh", "-c", script))
    await suite.until(driver, run, RUNNING)
    print(run.experiment_uid, flush=True)
    await asyncio.sleep(600)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
