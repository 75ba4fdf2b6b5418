"""The engine stops, and goes on elsewhere, whatever a driver does to its cancellation."""

from __future__ import annotations

import asyncio

from subgrpc.driver import Run
from subgrpc.ending import end
from subgrpc.testing.fake import FakeBackend, FakeDriver

from .conftest import World, until


class DeafBackend(FakeBackend):
    """A backend whose `get` does not hear the first times that it is cancelled.

    As `asyncio.wait_for` before Python 3.12, where an answer comes at that moment.
    """

    deaf = 0
    asked = False

    def driver_class(self) -> type[FakeDriver]:
        backend = self

        class DeafDriver(super().driver_class()):  # type: ignore[misc]
            """Swallows a cancellation."""

            async def get(self, run: Run) -> object:
                backend.asked = True
                while backend.deaf < 3:
                    try:
                        await asyncio.sleep(600)
                    except asyncio.CancelledError:
                        backend.deaf += 1
                return await super().get(run)

        return DeafDriver


async def test_a_driver_that_swallows_a_cancellation(world: World) -> None:
    """The engine comes to its end all the same; a worker that went on would hold it for ever."""
    uid = await world.create()
    await world.submitted(uid)
    backend = DeafBackend()
    await world.stop()
    backend.runs = world.backend.runs
    world.backend = backend
    run = backend.runs.pop((uid, 1))  # the watch does not tell of it: it is asked for
    await world.start()
    backend.runs[uid, 1] = run
    await until(lambda: backend.asked)
    await asyncio.wait_for(world.stop(), 10)
    assert backend.deaf == 3
    await world.start()


async def test_tasks_are_cancelled_until_they_end() -> None:
    """However often they do not hear it."""
    heard = 0

    async def deaf() -> None:
        nonlocal heard
        while heard < 3:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                heard += 1

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    await end([task], again=0.01)
    assert heard == 3
