"""A bad network between server and PostgreSQL, as clients meet it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from subgrpc.v1 import experiment_service_pb2 as pb

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(150)]
TEAM = "teams/default"


def creating(number: int) -> pb.CreateExperimentRequest:
    request = pb.CreateExperimentRequest(
        parent=TEAM, experiment_id=f"n{number}", request_id=f"r{number}"
    )
    request.experiment.spec.task_groups.add(args=["train"])
    return request


async def insisting(call: Callable[[], Any]) -> Any:
    """Repeats a call that is told to come again, as clients do."""
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            await asyncio.sleep(0.1)


def retry_after(error: grpc.aio.AioRpcError) -> float:
    raw = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    for detail in Status.FromString(raw).details:
        if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            info = error_details_pb2.RetryInfo()
            detail.Unpack(info)
            return info.retry_delay.ToNanoseconds() / 1e9
    raise AssertionError(f"no RetryInfo in {error}")


class Watcher:
    """A watch of everything, in the background: names as they were added."""

    def __init__(self, stub: Any) -> None:
        self.added: list[str] = []
        self.revisions: list[int] = []
        self.heartbeats = 0
        self._stream = stub.WatchExperiments(pb.WatchExperimentsRequest(parent=TEAM))
        self._task = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        async for frame in self._stream:
            if frame.HasField("change"):
                self.revisions.append(frame.change.revision)
                if frame.change.type == pb.CHANGE_TYPE_ADDED:
                    self.added.append(frame.change.experiment.name.rpartition("/")[2])
            elif frame.bookmark.type == pb.BOOKMARK_TYPE_HEARTBEAT:
                self.heartbeats += 1

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for something; the stream must not end before."""
        for _ in range(1200):
            if condition():
                return
            assert not self._task.done(), self._task
            await asyncio.sleep(0.05)
        raise AssertionError(f"it never came: {self.added}")

    async def stop(self) -> None:
        self._stream.cancel()
        with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await self._task


async def test_a_slow_network_only_slows_down(way: Any, start: Any) -> None:
    """Every call is answered, and a watcher sees each experiment once."""
    stub = await start("a", way.url)
    watcher = Watcher(stub)
    way.poison("latency", latency=30, jitter=20)
    await asyncio.gather(*(stub.CreateExperiment(creating(number)) for number in range(20)))
    page = await stub.ListExperiments(pb.ListExperimentsRequest(parent=TEAM))
    assert len(page.experiments) == 20
    await watcher.until(lambda: len(watcher.added) == 20)
    assert len(set(watcher.added)) == 20
    await watcher.stop()


async def test_resets_lose_nothing_and_double_nothing(way: Any, start: Any) -> None:
    """Connections are cut again and again; whoever repeats by request id has each thing once."""
    stub = await start("a", way.url)
    watcher = Watcher(stub)
    working = True

    async def cut() -> None:
        while working:
            await asyncio.sleep(0.3)
            way.enable(False)
            way.enable(True)

    cutting = asyncio.ensure_future(cut())

    async def worker(first: int) -> None:
        for number in range(first, first + 15):
            await insisting(lambda number=number: stub.CreateExperiment(creating(number)))

    await asyncio.gather(*(worker(15 * number) for number in range(4)))
    working = False
    await cutting
    names = sorted(f"n{number}" for number in range(60))
    page = await insisting(
        lambda: stub.ListExperiments(pb.ListExperimentsRequest(parent=TEAM, page_size=100))
    )
    assert sorted(each.name.rpartition("/")[2] for each in page.experiments) == names
    await watcher.until(lambda: len(watcher.added) >= 60)
    assert sorted(watcher.added) == names
    assert watcher.revisions == sorted(watcher.revisions)
    await watcher.stop()


async def test_a_black_hole_is_unavailable_and_watchers_stay(
    way: Any, start: Any, tmp_path: Any, databases: Any
) -> None:
    """Calls are told when to come again; a watcher gets heartbeats, and then what it missed."""
    stub = await start("a", way.url)
    other = await start("b", databases.of(tmp_path))
    await stub.CreateExperiment(creating(0))
    watcher = Watcher(stub)
    await watcher.until(lambda: watcher.added == ["n0"])
    way.swallow()
    for call in (
        stub.GetExperiment(pb.GetExperimentRequest(name=f"{TEAM}/experiments/n0")),
        stub.CreateExperiment(creating(1)),
        stub.ListExperiments(pb.ListExperimentsRequest(parent=TEAM)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(call, 45)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert retry_after(caught.value) > 0
    await insisting(lambda: other.CreateExperiment(creating(2)))
    before = watcher.heartbeats
    await watcher.until(lambda: watcher.heartbeats > before)
    way.heal()
    await insisting(lambda: stub.CreateExperiment(creating(1)))
    await watcher.until(lambda: len(watcher.added) == 3)
    assert sorted(watcher.added) == ["n0", "n1", "n2"]
    await watcher.stop()
