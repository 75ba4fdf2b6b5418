"""While the backend cannot be reached nothing is lost, and nobody says that it is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

from subgrpc.driver import Driver, Synced
from subgrpc.errors import NotFound, Unavailable
from subgrpc.testing.conformance.suite import (
    CONTROL_PLANE,
    ENDED,
    MAIN,
    RUNNING,
    STDOUT,
    Suite,
    refused_as,
    states_of,
)
from subgrpc.testing.programs import leave, wait, write
from subgrpc.v1.types_pb2 import TaskState


class Outages(Suite):
    """`Unavailable`, never `NotFound`; then everything catches up. Needs `outage`."""

    async def test_an_outage_is_unavailable(self, driver: Driver) -> None:
        """Each call raises Unavailable, of runs that there are and of those that there are not."""
        workload, unknown = self.workload(), self.workload()
        run = await self.submit(driver, workload)
        await self.until(driver, run, RUNNING)
        absent = await self.run_of(driver, unknown)

        async def read(which: str) -> None:
            target = run if which == "known" else absent
            async for _ in driver.logs(target, MAIN, STDOUT, 0, follow=True):
                pass

        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "get() of a run": lambda: driver.get(run),
            "get() of no run": lambda: driver.get(absent),
            "submit()": lambda: driver.submit(unknown, absent, {}),
            "stop()": lambda: driver.stop(run, grace=timedelta(0)),
            "delete()": lambda: driver.delete(run),
            "logs() of a run": lambda: read("known"),
            "logs() of no run": lambda: read("unknown"),
        }
        async with self.outage():
            for name, call in calls.items():
                await self.unavailable(name, call)
        assert RUNNING(await driver.get(run)), "an outage ended a run"
        await self.not_found(driver, absent)

    async def unavailable(self, name: str, call: Callable[[], Awaitable[object]]) -> None:
        """Asserts what a call does during an outage."""
        try:
            await asyncio.wait_for(call(), self.patience)
        except Unavailable:
            return
        except NotFound as error:
            raise AssertionError(f"{name} in an outage says NotFound: {error.message}") from error
        except (TimeoutError, asyncio.TimeoutError):
            raise AssertionError(f"{name} in an outage does not come back") from None
        raise AssertionError(f"{name} in an outage succeeds")

    async def test_a_watch_survives_an_outage(self, driver: Driver) -> None:
        """It is sent again up to `Synced`, with what became of the runs in the meantime."""
        stays = await self.submit(driver, self.workload())
        ends = await self.submit(driver, self.does(wait(0.3), leave(3)))
        await self.until(driver, stays, RUNNING)
        await self.until(driver, ends, RUNNING)
        async with self.watching(driver) as seen:
            async with self.outage():
                await asyncio.sleep(0.8)
            before = len(seen)
            await self.sees(
                seen,
                lambda: seen.count(Synced()) >= 2,
                "after an outage watch() did not start again up to Synced",
            )
            listed = seen[: len(seen) - seen[::-1].index(Synced())]
            assert states_of(listed, stays)[-1] == TaskState.TASK_STATE_RUNNING, (
                f"after the outage a running task is sent as {states_of(listed, stays)[-1]}"
            )
            assert states_of(listed, ends)[-1] == TaskState.TASK_STATE_FAILED, (
                f"what ended in the outage is not sent before Synced: {seen[before:]}"
            )
            await driver.stop(stays, grace=timedelta(seconds=5))
            await self.sees(
                seen,
                lambda: states_of(seen, stays)[-1:] == [ENDED[2]],
                "after an outage watch() sends no changes any more",
            )

    async def test_a_watch_begins_in_an_outage(self, driver: Driver) -> None:
        """It never says `Synced` of a backend that it cannot see."""
        run = await self.submit(driver, self.workload())
        seen: list[object] = []

        async def watch() -> None:
            async for item in driver.watch(CONTROL_PLANE):
                seen.append(item)  # noqa: PERF401 - it may never end

        async with self.outage():
            with contextlib.suppress(Unavailable, asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(watch(), 0.5)
            assert Synced() not in seen, "watch() says Synced, and cannot reach the backend"
        assert (await driver.get(run)).tasks, "after an outage get() knows no task of a run"

    async def test_calls_are_repeated_after_an_outage(self, driver: Driver) -> None:
        """What an outage kept from being done can be done after it, once."""
        workload = self.does(write(b"started"), wait())
        run = await self.run_of(driver, workload)
        self.submitted.append(run)
        async with self.outage():
            with refused_as(Unavailable, "submit() succeeds in an outage"):
                await driver.submit(workload, run, {})
        await driver.submit(workload, run, {})
        await self.first_chunk(driver, run)
        async with self.outage():
            with refused_as(Unavailable, "stop() succeeds in an outage"):
                await driver.stop(run, grace=timedelta(seconds=5))
        await driver.stop(run, grace=timedelta(seconds=5))
        await self.ended(driver, run)
        found = await self.output(driver, run)
        assert found == b"started", f"its output is not that of one start: {found!r}"

    async def test_output_survives_an_outage(self, driver: Driver) -> None:
        """Who was cut off goes on at his offset and gets exactly the rest."""
        run = await self.submit(driver, self.does(write(b"before "), wait(0.3), write(b"after")))
        first = await self.first_chunk(driver, run)
        async with self.outage():
            await asyncio.sleep(0.6)
        rest = await self.output(driver, run, offset=len(first))
        assert first + rest == b"before after", f"after an outage it is {first + rest!r}"
