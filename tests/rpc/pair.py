"""Two servers on one database, of which the first keeps the output of what runs."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from subgrpc.v1 import experiment_service_pb2 as pb
from subgrpc.v1.types_pb2 import TaskState

FORMATS = (pb.LOG_FORMAT_BYTES, pb.LOG_FORMAT_TEXT)


class Pair:
    """Two servers on one database; the first leads, and keeps the output."""

    def __init__(self, running: Any, **changes: Any) -> None:
        self.running = running
        self.backend = running.backend
        # No server dies here, so that the lease has time: on a busy machine a short one is lost.
        self.changes = {"lease_length": 10.0, **changes}
        self.folders = (running.data_dir, running.data_dir.with_name("other"))

    async def start(self, number: int) -> Any:
        database = self.running.databases.of(self.running.data_dir)
        return await self.running.server(
            data_dir=self.folders[number], database=database, **self.changes
        )

    async def both(self) -> Pair:
        self.keeper = await self.start(0)
        self.other = await self.start(1)
        self.at_keeper = self.running.api(self.keeper)
        self.at_other = self.running.api(self.other)
        return self

    async def run(self, api: Any) -> pb.Experiment:
        """An experiment of two tasks that runs."""
        request = api.request()
        request.experiment.spec.task_groups[0].replicas = 2
        made: pb.Experiment = (
            await api.stub.CreateExperiment(request, metadata=api.metadata)
        ).experiment
        await self.backend.run(made.uid)
        for index in (0, 1):
            self.backend.backend.observe((made.uid, 1), "main", index, TaskState.TASK_STATE_RUNNING)
        return made

    def write(self, made: pb.Experiment, index: int, data: bytes) -> None:
        self.backend.backend.write((made.uid, 1), "main", index, data)

    def end(self, made: pb.Experiment) -> None:
        for index in (0, 1):
            self.backend.backend.observe(
                (made.uid, 1), "main", index, TaskState.TASK_STATE_SUCCEEDED, exit_code=0
            )


@pytest.fixture
async def pair(running: Any) -> Pair:
    return await Pair(running).both()


def stream(api: Any, made: pb.Experiment, part: str = "", **fields: Any) -> Any:
    request = pb.StreamLogsRequest(name=made.name + part, **fields)
    return api.stub.StreamLogs(request, metadata=api.metadata)


async def rest(call: Any) -> list[Any]:
    """What is still to come of a call that was read from."""
    found = []
    while (frame := await asyncio.wait_for(call.read(), 30)) is not grpc.aio.EOF:
        found.append(frame)
    return found


async def read(api: Any, made: pb.Experiment, part: str = "", **fields: Any) -> list[Any]:
    async def all_of() -> list[Any]:
        return [frame async for frame in stream(api, made, part, **fields)]

    return await asyncio.wait_for(all_of(), 30)


def output(frames: list[Any], task: str) -> bytes:
    chunks = [each.chunk for each in frames if each.chunk.task == task]
    return b"".join(each.data or each.text.encode() for each in chunks)


LINES = [b"%d %d\n" % (number, number**5) * 20 + "naïve €\n".encode() for number in range(300)]


async def finished(pair: Pair) -> pb.Experiment:
    made = await pair.run(pair.at_keeper)
    for number, line in enumerate(LINES):
        pair.write(made, number % 2, line)
        if not number % 50:
            await asyncio.sleep(0.01)  # so that the streams are interleaved in the journal
    pair.end(made)
    await pair.at_keeper.until_state(made.name, "SUCCEEDED")
    await read(pair.at_keeper, made, follow=True)
    return made


async def followed(api: Any, made: pb.Experiment, token: str) -> list[Any]:
    """Follows to the end as clients do: again, from the last token, while it is UNAVAILABLE."""
    frames: list[Any] = []
    for _ in range(100):
        try:
            async for frame in stream(api, made, follow=True, resume_token=token):
                frames.append(frame)
                token = frame.resume_token
            return frames
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            await asyncio.sleep(0.1)
    raise AssertionError("unavailable for too long")
