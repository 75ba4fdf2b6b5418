"""Cancel at every stage of a run's life, and delete: nothing that was stopped is left at work."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from subgrpc.driver import Driver, Observation, Run, TaskKey
from subgrpc.testing.conformance.suite import ENDED, MAIN, RUNNING, Suite, shown
from subgrpc.testing.programs import daemon, ignore_term, leave, on_term, wait, write
from subgrpc.v1.types_pb2 import TaskState, TaskStatus

CANCELLED = TaskState.TASK_STATE_CANCELLED


class Stopping(Suite):
    """`stop` asks; the end is observed, and is CANCELLED."""

    async def test_stop_before_submit(self, driver: Driver) -> None:
        """A run that was only prepared is not there: to stop or delete it is nothing."""
        workload = self.workload()
        run = await self.run_of(driver, workload)
        await driver.stop(run, grace=timedelta(0))
        await driver.delete(run)
        await self.not_found(driver, run)

    async def test_stop_right_after_submit(self, driver: Driver) -> None:
        """Between submit and start: it ends CANCELLED, whether it started or not."""
        run = await self.submit(driver, self.workload(replicas=2))
        await driver.stop(run, grace=timedelta(seconds=5))
        for task in await self.ended(driver, run):
            assert task.state == CANCELLED, f"stopped at once, it is {shown(task)}"

    async def test_stop_of_a_run_that_waits(self, driver: Driver) -> None:
        """A run without room says why it waits; stopped then, it never starts."""
        capacity = (await driver.describe()).capacity.cpu
        if not capacity:
            pytest.skip("describe() names no capacity in cpu: nothing waits for room")
        large = self.workload()
        large.groups[0].resources.cpu = capacity
        holder = await self.submit(driver, large)
        await self.until(driver, holder, RUNNING)
        run = await self.submit(driver, self.does(write(b"started")))
        failure = "an observation of a run that waits for room has no reason"
        observation = await self.until(driver, run, lambda seen: bool(seen.reason), failure)
        waiting = observation.tasks[0]
        assert waiting.state == TaskState.TASK_STATE_QUEUED, f"without room {shown(waiting)}"
        await driver.stop(run, grace=timedelta(seconds=5))
        [task] = await self.ended(driver, run)
        assert task.state == CANCELLED, shown(task)
        await driver.delete(holder)
        await asyncio.sleep(0.1)
        after = (await driver.get(run)).tasks[0]
        assert after == task, f"stopped while it waited, it became {shown(after)}"
        assert not task.HasField("start_time"), "it waited, and yet has a time of its start"

    async def test_stop_of_a_running_task(self, driver: Driver) -> None:
        """A stopped task is CANCELLED, with a time, and stays so; to stop it again is fine."""
        run = await self.submit(driver, self.workload())
        await self.until(driver, run, RUNNING)
        await driver.stop(run, grace=timedelta(seconds=5))
        await driver.stop(run, grace=timedelta(seconds=5))
        [task] = await self.ended(driver, run)
        assert task.state == CANCELLED, shown(task)
        assert task.HasField("end_time"), "a task that has ended has no time of its end"
        await driver.stop(run, grace=timedelta(0))
        after = (await driver.get(run)).tasks[0]
        assert after == task, f"stopped again, it became {shown(after)}"

    async def test_stop_of_one_task(self, driver: Driver) -> None:
        """Only the tasks that are named are stopped."""
        run = await self.submit(driver, self.workload(replicas=2))
        await self.until(driver, run, RUNNING)
        await driver.stop(run, [TaskKey("main", 1)], grace=timedelta(seconds=5))

        def second_ended(seen: Observation) -> bool:
            return task_of(seen, 1).state in ENDED

        found = await self.until(driver, run, second_ended)
        assert task_of(found, 1).state == CANCELLED, shown(task_of(found, 1))
        other = task_of(found, 0)
        assert other.state == TaskState.TASK_STATE_RUNNING, f"not named, but {shown(other)}"

    async def test_stop_leaves_time_for_last_words(self, driver: Driver) -> None:
        """A task that handles SIGTERM gets its grace period; what it writes then is kept."""
        steps = (on_term(0.3, b"bye", 0), write(b"ready "), wait())
        run = await self.submit(driver, self.does(*steps))
        assert await self.first_chunk(driver, run) == b"ready "
        await driver.stop(run, grace=timedelta(seconds=10))
        [task] = await self.ended(driver, run)
        assert task.state == CANCELLED, f"stopped, it ended by itself with 0: {shown(task)}"
        found = await self.output(driver, run)
        assert found == b"ready bye", f"its output is {found!r}: it was not left its grace period"

    async def test_stop_of_a_task_that_ignores_it(self, driver: Driver) -> None:
        """A task that ignores SIGTERM is killed after the grace period, not before."""
        run = await self.submit(driver, self.does(ignore_term(), write(b"ready"), wait()))
        assert await self.first_chunk(driver, run) == b"ready"
        asked = asyncio.get_running_loop().time()
        await driver.stop(run, grace=timedelta(milliseconds=400))
        [task] = await self.ended(driver, run)
        took = asyncio.get_running_loop().time() - asked
        assert task.state == CANCELLED, shown(task)
        assert took >= 0.4, f"it was killed after {took:.2f} s of a grace period of 0.4 s"

    async def test_stop_of_a_task_that_has_ended(self, driver: Driver) -> None:
        """What has ended keeps its outcome."""
        run = await self.submit(driver, self.does(leave(3)))
        [before] = await self.ended(driver, run)
        await driver.stop(run, grace=timedelta(0))
        after = (await driver.get(run)).tasks[0]
        assert after == before, f"it was {shown(before)}; stopped, it became {shown(after)}"

    async def test_nothing_goes_on_after_a_stop(self, driver: Driver) -> None:
        """A stop ends the whole process tree; with delete nothing is left of the run."""
        run = await self.submit(driver, self.does(daemon(), write(b"ready"), wait()))
        await self.first_chunk(driver, run)
        await driver.stop(run, grace=timedelta(seconds=5))
        await self.ended(driver, run)
        await driver.delete(run)
        await self.nothing_left(driver, run)

    async def test_delete_is_final(self, driver: Driver) -> None:
        """A deleted run is gone, even if it was running; to delete it again is fine."""
        run = await self.submit(driver, self.does(daemon(), write(b"ready"), wait()))
        await self.first_chunk(driver, run)
        await driver.delete(run)
        await self.not_found(driver, run)
        await driver.delete(run)
        await self.not_found(driver, run)
        await self.nothing_left(driver, run)

    async def test_delete_of_what_has_ended(self, driver: Driver) -> None:
        """Its output goes too, and other runs stay."""
        other = await self.submit(driver, self.workload())
        run = await self.submit(driver, self.does(write(b"output"), leave(0)))
        await self.ended(driver, run)
        await self.until(driver, other, RUNNING)
        await driver.delete(run)
        await self.not_found(driver, run)
        await self.nothing_left(driver, run)
        assert RUNNING(await driver.get(other)), "delete() of one run ended another"

    async def nothing_left(self, driver: Driver, run: Run) -> None:
        """Asserts that the backend has nothing of a deleted run."""
        left = await self.leftovers(driver, run)
        assert not left, f"after delete() there is still {left}"


def task_of(observation: Observation, index: int) -> TaskStatus:
    """A task of the role `main`."""
    return next(t for t in observation.tasks if (t.role, t.index) == (MAIN.role, index))
