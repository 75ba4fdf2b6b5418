"""A caller that is cancelled in the middle of a call leaves a driver that can be used."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from subgrpc.driver import Driver, Run
from subgrpc.testing.conformance.suite import CONTROL_PLANE, MAIN, RUNNING, STDOUT, Suite, shown
from subgrpc.testing.programs import wait, write
from subgrpc.v1.types_pb2 import TaskState

MOMENTS = 4
"""At how many different moments a call is cancelled."""


class Interruptions(Suite):
    """Cancelled calls can be repeated, and hold nothing."""

    async def test_a_submit_that_is_cancelled(self, driver: Driver) -> None:
        """Whether it had come through or not: submitted again it runs, once."""
        for moment in range(MOMENTS):
            workload = self.does(write(b"started"), wait())
            run = await self.run_of(driver, workload)
            self.submitted.append(run)
            await self.interrupt(lambda w=workload, r=run: driver.submit(w, r, {}), moment)  # type: ignore[misc]
            await driver.submit(workload, run, {})
            await self.first_chunk(driver, run)
            found = await self.output(driver, run, follow=False)
            assert found == b"started", f"cancelled and repeated, its output is {found!r}"

    async def test_a_stop_and_a_delete_that_are_cancelled(self, driver: Driver) -> None:
        """They are done when they are repeated."""
        for moment in range(MOMENTS):
            run = await self.submit(driver, self.workload())
            await self.until(driver, run, RUNNING)
            await self.interrupt(lambda r=run: self.stop(driver, r), moment)  # type: ignore[misc]
            await self.stop(driver, run)
            [task] = await self.ended(driver, run)
            assert task.state == TaskState.TASK_STATE_CANCELLED, shown(task)
            await self.interrupt(lambda r=run: driver.delete(r), moment)  # type: ignore[misc]
            await driver.delete(run)
            await self.not_found(driver, run)
            left = await self.leftovers(driver, run)
            assert not left, f"after a delete() that was repeated there is {left}"

    async def test_readers_that_are_cancelled(self, driver: Driver) -> None:
        """Followers and watchers that go away take nothing from those who come after them."""
        run = await self.submit(driver, self.does(write(b"all"), wait(0.5), write(b" of it")))

        async def follow() -> None:
            async for _ in driver.logs(run, MAIN, STDOUT, 0, follow=True):
                pass

        async def watch() -> None:
            async for _ in driver.watch(CONTROL_PLANE):
                pass

        for moment in range(MOMENTS):
            await self.interrupt(follow, moment)
            await self.interrupt(watch, moment)
        found = await self.output(driver, run)
        assert found == b"all of it", f"after followers were cancelled the output is {found!r}"
        await self.ended(driver, run)

    async def stop(self, driver: Driver, run: Run) -> None:
        """Stops a run."""
        await driver.stop(run, grace=timedelta(seconds=5))

    async def interrupt(self, call: Callable[[], Awaitable[object]], moment: int) -> None:
        """Cancels a call after some turns of the event loop; the last moment is a little later."""
        task = asyncio.ensure_future(call())
        for _ in range(moment):
            await asyncio.sleep(0)
        if moment == MOMENTS - 1:
            await asyncio.sleep(0.02)
        task.cancel()
        _, late = await asyncio.wait([task], timeout=self.patience)
        assert not late, "a call that was cancelled goes on"
        if not task.cancelled() and (error := task.exception()) is not None:
            raise AssertionError(f"a call that was cancelled raised {error!r}") from error
