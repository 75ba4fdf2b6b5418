"""First come, first served, as a whole; and whoever waits is told why, with figures."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from subgrpc.driver import Driver, Run, TaskKey, Workload
from subgrpc.driver.local.admission import Demand, Ledger, total, wait_message
from subgrpc.driver.local.host import Host
from subgrpc.testing.contract import RUNNING, Suite, all_in
from subgrpc.v1.types_pb2 import TaskState
from tests.unit.local_driver.conftest import MakeDriver

HOST = Host(cpu=2000, memory=4 << 30, gpus=("0", "1", "2"), cgroup="")
demands = st.builds(Demand, st.integers(0, 900), st.integers(0, 1 << 30), st.integers(0, 2))


@given(st.lists(st.tuples(demands, st.booleans()), max_size=30))
def test_nothing_is_given_twice(steps: list[tuple[Demand, bool]]) -> None:
    """Never more than the host has, no GPU to two tasks, and all of it comes back."""
    ledger = Ledger(HOST)
    given_now: dict[TaskKey, tuple[Demand, tuple[str, ...]]] = {}
    for number, (demand, take_back) in enumerate(steps):
        task = TaskKey("main", number)
        if demand.fits(ledger.free):
            given_now[task] = demand, ledger.give("run", task, demand)
        if take_back and given_now:
            back = next(iter(given_now))
            ledger.take_back("run", back)
            ledger.take_back("run", back)
            del given_now[back]
        assert ledger.used == total(demand for demand, _ in given_now.values())
        ids = [gpu for _, gpus in given_now.values() for gpu in gpus]
        assert len(ids) == len(set(ids)) == ledger.used.gpus
        assert ledger.used.fits(Demand(HOST.cpu, HOST.memory, len(HOST.gpus)))


def test_the_message_has_figures() -> None:
    """What is needed, what is free, who is ahead."""
    ledger = Ledger(HOST)
    ledger.give("other", TaskKey("main", 0), Demand(500, 0, 1))
    message = wait_message(Demand(4000, 1 << 30, 3), ledger, 3)
    assert message == "needs 4 cpu, 1.5 of 2 free; 3 gpus, 2 of 3 free; 3 experiments ahead"
    assert wait_message(Demand(1), ledger, 1) == "waits for its turn; 1 experiment ahead"


class TestQueue(Suite):
    """Runs that have to wait."""

    def sized(self, cpu: str, *args: str) -> Workload:
        workload = self.workload(*args)
        workload.groups[0].resources.cpu = cpu
        return workload

    async def state(self, driver: Driver, run: Run) -> int:
        return (await driver.get(run)).tasks[0].state

    async def test_strictly_in_order(self, make_driver: MakeDriver) -> None:
        """A small run does not overtake a big one that came first."""
        driver = await make_driver(cpu=2)
        first = await self.submit(driver, self.sized("1.5"))
        big = await self.submit(driver, self.sized("2"))
        small = await self.submit(driver, self.sized("0.1"))
        await self.until(driver, first, RUNNING)
        waiting = await driver.get(big)
        assert waiting.reason == "WaitingForResources"
        assert waiting.message == "needs 2 cpu, 0.5 of 2 free".replace("0.5", "500m")
        assert waiting.tasks[0].state == TaskState.TASK_STATE_QUEUED
        assert (await driver.get(small)).message == "waits for its turn; 1 experiment ahead"
        await driver.stop(first, grace=timedelta(0))
        await self.until(driver, big, RUNNING)
        assert await self.state(driver, small) == TaskState.TASK_STATE_QUEUED
        assert (await driver.get(big)).reason == ""
        await driver.stop(big, grace=timedelta(0))
        await self.until(driver, small, RUNNING)
        for run in (first, big, small):
            await driver.delete(run)
        assert (await driver.describe()).allocated.cpu == "0"

    async def test_a_waiting_run_is_stopped(self, make_driver: MakeDriver) -> None:
        """It never starts, and those behind it move up."""
        driver = await make_driver(cpu=1)
        first = await self.submit(driver, self.sized("0.5"))
        big = await self.submit(driver, self.sized("1"))
        small = await self.submit(driver, self.sized("0.5"))
        await driver.stop(big, grace=timedelta(seconds=5))
        [task] = await self.ended(driver, big)
        assert task.state == TaskState.TASK_STATE_CANCELLED
        assert not task.HasField("start_time")
        await self.until(driver, small, RUNNING)
        for run in (first, big, small):
            await driver.delete(run)

    async def test_a_waiting_run_is_deleted(self, make_driver: MakeDriver) -> None:
        """As if it had never been."""
        driver = await make_driver(cpu=1)
        first = await self.submit(driver, self.sized("1"))
        second = await self.submit(driver, self.sized("1"))
        await driver.delete(second)
        await driver.delete(first)
        assert not driver.folder_of(second).exists()

    async def test_order_survives_a_restart(self, make_driver: MakeDriver) -> None:
        """After a restart the queue is what it was, in whatever order runs are submitted again."""
        before = await make_driver(cpu=1)
        first = await self.submit(before, self.sized("1"))
        await self.until(before, first, RUNNING)
        workloads = [self.sized("1"), self.sized("1")]
        second, third = [await self.submit(before, each) for each in workloads]
        await before.close()
        driver = await make_driver(cpu=1)
        await driver.delete(first)
        await driver.submit(workloads[1], third, {})
        assert await self.state(driver, third) == TaskState.TASK_STATE_QUEUED
        await driver.submit(workloads[0], second, {})
        await self.until(driver, second, RUNNING)
        assert await self.state(driver, third) == TaskState.TASK_STATE_QUEUED
        await driver.delete(second)
        await self.until(driver, third, RUNNING)
        await driver.delete(third)

    async def test_a_run_starts_as_a_whole(self, make_driver: MakeDriver) -> None:
        """Either there is room for all tasks, or none starts."""
        driver = await make_driver(cpu=1)
        first = await self.submit(driver, self.sized("0.5"))
        workload = self.workload(replicas=2)
        workload.groups[0].resources.cpu = "0.4"
        gang = await self.submit(driver, workload)
        found = await driver.get(gang)
        assert all_in(TaskState.TASK_STATE_QUEUED)(found)
        assert found.message == "needs 800m cpu, 500m of 1 free"
        await driver.delete(first)
        await self.until(driver, gang, RUNNING)
        await driver.delete(gang)
