"""A watch sends every run, `Synced`, then each change, of its own control plane and no other."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise

from subgrpc.driver import Driver, Gone, Observation, Synced
from subgrpc.testing.conformance.suite import (
    CONTROL_PLANE,
    ENDED,
    RUNNING,
    Suite,
    same,
    states_of,
)
from subgrpc.testing.programs import leave, wait
from subgrpc.v1.types_pb2 import TaskState

ANOTHER = "another"


class Watching(Suite):
    """`watch`: snapshot, `Synced`, changes."""

    async def test_watch_begins_with_all_there_is(self, driver: Driver) -> None:
        """Runs that wait, run, or have ended are sent before `Synced`, each as it is."""
        running = await self.submit(driver, self.workload())
        over = await self.submit(driver, self.does(leave(3)))
        await self.ended(driver, over)
        await self.until(driver, running, RUNNING)
        async with self.watching(driver) as seen:
            before = seen[: seen.index(Synced())]
            state = states_of(before, running)[-1:]
            assert state == [TaskState.TASK_STATE_RUNNING], (
                f"before Synced a running task is sent with the states {state}"
            )
            state = states_of(before, over)[-1:]
            assert state == [TaskState.TASK_STATE_FAILED], (
                f"before Synced a failed task is sent with the states {state}"
            )

    async def test_watch_sends_every_change(self, driver: Driver) -> None:
        """After `Synced` a run is followed to its end, states go forward, and the handle is its."""
        async with self.watching(driver) as seen:
            run = await self.submit(driver, self.does(wait(0.2), leave(7)))

            def last() -> bool:
                return states_of(seen, run)[-1:] == [TaskState.TASK_STATE_FAILED]

            await self.sees(seen, last, "watch() did not send the end of a run")
            states = states_of(seen, run)
            assert TaskState.TASK_STATE_RUNNING in states, f"only these states came: {states}"
            assert all(a <= b for a, b in pairwise(states)), f"states go back: {states}"
            found = [each for each in seen if isinstance(each, Observation)]
            mine = [each for each in found if same(each.run, run)]
            assert mine[-1].tasks[0].exit_code == 7, f"the last observation is {mine[-1]}"
            assert mine[-1].run == run, f"it is sent as {mine[-1].run}, submitted as {run}"
            assert seen.count(Synced()) == 1, "without an outage Synced came more than once"

    async def test_watch_says_what_is_gone(self, driver: Driver) -> None:
        """A deleted run is `Gone`; a later watch does not send it."""
        run = await self.submit(driver, self.workload())
        async with self.watching(driver) as seen:
            await driver.delete(run)

            def gone() -> bool:
                return any(isinstance(each, Gone) and same(each.run, run) for each in seen)

            await self.sees(seen, gone, "watch() did not say that a deleted run is gone")
        async with self.watching(driver) as seen:
            assert not states_of(seen, run), "a new watch() sends a run that was deleted"

    async def test_watch_sees_its_own_control_plane(self, driver: Driver) -> None:
        """Runs of another control plane are never sent, whatever becomes of them."""
        foreign = self.workload()
        foreign.control_plane_id = ANOTHER
        early = await self.submit(driver, foreign)
        await self.until(driver, early, RUNNING)
        async with self.watching(driver) as seen:
            mine = await self.submit(driver, self.workload())
            other = self.does(leave(0))
            other.control_plane_id = ANOTHER
            late = await self.submit(driver, other)
            await self.ended(driver, late)
            await driver.delete(early)
            await driver.stop(mine, grace=timedelta(seconds=5))
            await self.sees(
                seen, lambda: states_of(seen, mine)[-1:] == [ENDED[2]], "the end of our own run"
            )
            runs = [each.run for each in seen if not isinstance(each, Synced)]
            wrong = [each for each in runs if not same(each, mine)]
            assert not wrong, f"watch({CONTROL_PLANE!r}) sends runs of {ANOTHER!r}: {wrong}"
        async with self.watching(driver, ANOTHER) as seen:
            assert states_of(seen, late), "a run is not sent to its own control plane"

    async def test_every_watcher_sees_all(self, driver: Driver) -> None:
        """No watcher takes a change from another."""
        async with self.watching(driver) as one, self.watching(driver) as two:
            run = await self.submit(driver, self.does(leave(0)))

            def told() -> bool:
                return all(states_of(seen, run)[-1:] == [ENDED[0]] for seen in (one, two))

            await self.sees([one, two], told, "a watcher was not told of a run's end")

    async def test_a_watch_that_is_left(self, driver: Driver) -> None:
        """A watcher that goes away leaves the others and the driver as they were."""
        run = await self.submit(driver, self.workload())
        async with self.watching(driver) as seen:
            async with self.watching(driver):
                await asyncio.sleep(0)
            await driver.stop(run, grace=timedelta(seconds=5))
            await self.sees(
                seen, lambda: states_of(seen, run)[-1:] == [ENDED[2]], "the end of a run"
            )
