"""What the engine holds: files while they are written, and nothing of what is over."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path

from subgrpc.driver import Run
from subgrpc.engine.collector import LogCollector
from subgrpc.engine.context import Memory
from subgrpc.engine.workqueue import WorkQueue
from subgrpc.testing.fake import FakeBackend
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment

from .conftest import World, now, retrying, until

CANCELLING, DELETING = api.EXPERIMENT_STATE_CANCELLING, api.EXPERIMENT_STATE_DELETING


async def test_a_stop_in_the_middle_of_sealing_waits_for_it(tmp_path: Path) -> None:
    """Sealing happens in a thread that nobody can cancel: its files are closed only after it."""

    class SlowWriter:
        """Seals slowly."""

        log: list[str] = []  # noqa: RUF012

        def seal(self) -> None:
            time.sleep(0.2)
            self.log.append("sealed")

        def close(self) -> None:
            self.log.append("closed")

    class SlowJournals:
        """Makes slow writers."""

        def writer(self, uid: str, attempt: int) -> SlowWriter:
            return SlowWriter()

    driver = FakeBackend().driver_class()()
    collector = LogCollector(driver, SlowJournals(), lambda uid: None)  # type: ignore[arg-type]
    sealing = asyncio.create_task(collector.seal(Run(experiment_uid="u", attempt=1)))
    await asyncio.sleep(0.05)
    sealing.cancel()
    await asyncio.gather(sealing, return_exceptions=True)
    await collector.close()
    assert SlowWriter.log == ["sealed", "closed"]


async def test_nothing_is_remembered_of_what_is_over(world: World) -> None:
    """After 500 experiments of every fate, the engine's memory is as empty as it was."""
    earlier = of_engines()
    await world.restart()
    experiment = retrying(1)
    experiment.spec.queue_timeout.seconds = 3600
    uids = []
    for _ in range(500):
        copy = Experiment()
        copy.CopyFrom(experiment)
        uids.append(await world.create(copy))
    for number, uid in enumerate(uids):
        await world.submitted(uid)
        world.set(uid, "RUNNING")
        if number % 5 == 0:
            await world.change(uid, DELETING)
        elif number % 5 == 1:
            await world.change(uid, CANCELLING)
        elif number % 5 == 2:
            world.backend.vanish((uid, 1))
        elif number % 5 == 3:
            world.set(uid, "FAILED", exit_code=1)
        else:
            world.set(uid, "SUCCEEDED")
    for number, uid in enumerate(uids):
        if number % 5 in (2, 3):
            await world.submitted(uid, 2)
            world.set(uid, "FAILED", attempt=2, exit_code=1)
    await until(lambda: not now(world.store.unsettled("one")))
    await until(lambda: not world.backend.runs)
    await asyncio.sleep(0.1)
    found = [each for each in of_engines() if not any(each is other for other in earlier)]
    assert sorted(type(each).__name__ for each in found) == ["LogCollector", "Memory", "WorkQueue"]
    for each in found:
        if isinstance(each, Memory):
            assert each == Memory()
        elif isinstance(each, WorkQueue):
            assert not len(each)
            assert (each._timers, each._failures, each._again) == ({}, {}, set())
        else:
            assert each._collections == {}


def of_engines() -> list[Memory | WorkQueue | LogCollector]:
    """Everything that engines keep of experiments, wherever it is."""
    gc.collect()
    kinds = (Memory, WorkQueue, LogCollector)
    return [each for each in gc.get_objects() if isinstance(each, kinds)]
