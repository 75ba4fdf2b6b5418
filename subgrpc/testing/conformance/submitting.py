"""A run is started once, whoever submits it, however often; any driver of the backend goes on."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from subgrpc.driver import Driver, Observation, Run, Synced, Workload
from subgrpc.errors import AlreadyExists
from subgrpc.testing.conformance.suite import (
    CONTROL_PLANE,
    ENDED,
    RUNNING,
    StartDriver,
    Suite,
    refused_as,
    same,
    shown,
)
from subgrpc.testing.programs import leave, wait, write
from subgrpc.v1.types_pb2 import TaskState

STARTED = b"started\n"


class Submitting(Suite):
    """`submit` is idempotent by run key, and adopts."""

    async def test_submit_is_idempotent(self, driver: Driver) -> None:
        """The same run submitted again and again is adopted, and runs once."""
        workload = self.starter(replicas=2)
        run = await self.submit(driver, workload)
        before = await self.until(driver, run, RUNNING)
        for _ in range(3):
            await driver.submit(workload, run, {})
        await self.ran_once(driver, run)
        after = await driver.get(run)
        assert [task.start_time for task in after.tasks] == [t.start_time for t in before.tasks], (
            "a repeated submit() changed the time at which the tasks started"
        )
        found = [(task.role, task.index) for task in after.tasks]
        assert found == [("main", 0), ("main", 1)], f"get() has the tasks {found}"

    async def test_submits_at_once_start_once(self, drivers: StartDriver) -> None:
        """Several servers submit the same run at the same time: it starts once."""
        first, second = await drivers(), await drivers()
        workload = self.starter()
        run = await self.run_of(first, workload)
        self.submitted.append(run)
        await asyncio.gather(
            *(each.submit(workload, run, {}) for each in (first, second, first, second))
        )
        for each in (first, second):
            await self.until(each, run, RUNNING)
        await self.ran_once(first, run)

    async def test_a_run_key_is_taken_once(self, driver: Driver) -> None:
        """The run key of one workload is refused to another, which does not replace it."""
        workload = self.workload()
        run = await self.submit(driver, workload)
        await self.until(driver, run, RUNNING)
        workload.groups[0].args.append("more")
        with refused_as(AlreadyExists, "submit() takes another workload under the same run key"):
            await driver.submit(workload, run, {})
        assert RUNNING(await driver.get(run)), "a submit() that was refused ended the run"

    async def test_labels_may_change(self, driver: Driver) -> None:
        """A run whose experiment was labelled anew is the same run."""
        workload = self.workload()
        run = await self.submit(driver, workload)
        workload.labels["new"] = "yes"
        await driver.submit(workload, run, {})

    async def test_attempts_are_apart(self, driver: Driver) -> None:
        """The second attempt of an experiment is another run than the first."""
        workload = self.workload()
        first = await self.submit(driver, workload)
        workload.attempt = 2
        second = await self.submit(driver, workload)
        await self.until(driver, second, RUNNING)
        await driver.delete(first)
        await self.not_found(driver, first)
        assert RUNNING(await driver.get(second)), "delete() of attempt 1 ended attempt 2"

    async def test_a_run_that_is_over_stays_over(self, driver: Driver) -> None:
        """A run that has ended is not started again by another submit."""
        workload = self.starter(0)
        run = await self.submit(driver, workload)
        before = await self.ended(driver, run)
        await driver.submit(workload, run, {})
        await asyncio.sleep(0.2)
        after = list((await driver.get(run)).tasks)
        assert before == after, f"it was {shown(before[0])}; after submit() {shown(after[0])}"
        assert await self.output(driver, run) == STARTED, "submit() started it again"

    async def test_another_driver_adopts(self, drivers: StartDriver) -> None:
        """A driver made anew finds what an earlier one submitted, and goes on with it."""
        first = await drivers()
        workload = self.starter()
        run = await self.submit(first, workload)
        await self.until(first, run, RUNNING)
        assert await self.first_chunk(first, run) == STARTED, "its output is not what it wrote"
        await first.close()
        second = await drivers()
        assert await self.is_listed(second, run), "the new driver's watch() does not know the run"
        await second.submit(workload, run, {})
        assert RUNNING(await second.get(run)), "the run did not survive its driver"
        await second.stop(run, grace=timedelta(seconds=5))
        [task] = await self.ended(second, run)
        assert task.state == TaskState.TASK_STATE_CANCELLED, shown(task)
        assert await self.output(second, run) == STARTED, "its output is not that of one start"
        await second.delete(run)
        await self.not_found(second, run)

    async def test_an_end_that_nobody_saw(self, drivers: StartDriver) -> None:
        """What ended while there was no driver is observed by the next, with all its output."""
        first = await drivers()
        run = await self.submit(first, self.does(write(b"one"), wait(0.3), write(b"two"), leave(5)))
        await self.until(first, run, RUNNING)
        await first.close()
        await asyncio.sleep(0.6)
        second = await drivers()
        [task] = await self.ended(second, run)
        assert task.exit_code == 5, shown(task)
        found = await self.output(second, run, offset=2)
        assert found == b"etwo", f"from byte 2 the new driver has the output {found!r}, not etwo"

    def starter(self, seconds: float = 600, *, replicas: int = 1) -> Workload:
        """A workload that says that it was started, once for each start."""
        return self.does(write(STARTED), wait(seconds), replicas=replicas)

    async def ran_once(self, driver: Driver, run: Run) -> None:
        """Asserts that the first task was started once."""
        await self.first_chunk(driver, run)
        await asyncio.sleep(0.2)  # a second start would come a little later
        found = await self.output(driver, run, follow=False)
        assert found == STARTED, f"submit() started it {found.count(STARTED)} times"

    async def is_listed(self, driver: Driver, run: Run) -> bool:
        """Whether a watch begins with a run."""
        async for item in driver.watch(CONTROL_PLANE):
            if isinstance(item, Observation) and same(item.run, run):
                assert item.tasks[0].state not in ENDED, shown(item.tasks[0])
                return True
            if isinstance(item, Synced):
                return False
        return False
