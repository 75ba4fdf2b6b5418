"""StreamLogs over the wire: every byte, in order, to its end."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from subgrpc.v1 import experiment_service_pb2 as pb
from subgrpc.v1.types_pb2 import LogStream


async def read_all(api: Any, name: str, **fields: Any) -> list[pb.StreamLogsResponse]:
    call = api.stub.StreamLogs(pb.StreamLogsRequest(name=name, **fields))
    return [frame async for frame in call]


def data_of(frames: list[pb.StreamLogsResponse]) -> bytes:
    return b"".join(frame.chunk.data for frame in frames)


async def test_output_is_followed_to_the_end_of_the_experiment(api: Any, backend: Any) -> None:
    made = await api.create()
    await backend.observe(made.uid, "RUNNING")
    following = asyncio.ensure_future(
        read_all(api, made.name, follow=True, format=pb.LOG_FORMAT_BYTES)
    )
    lines = [bytes(range(256)), b"x" * 200_000, b"end\n"]
    for line in lines:
        backend.backend.write((made.uid, 1), "main", 0, line)
        await asyncio.sleep(0)
    await backend.observe(made.uid, "SUCCEEDED")
    frames = await asyncio.wait_for(following, 20)
    assert data_of(frames) == b"".join(lines)
    assert all(len(frame.chunk.data) <= 65536 for frame in frames)
    assert frames[-1].end.state == pb.EXPERIMENT_STATE_SUCCEEDED
    stored = await read_all(api, made.name, format=pb.LOG_FORMAT_BYTES)
    assert data_of(stored) == b"".join(lines)


async def test_a_follower_goes_on_at_another_server(running: Any, server: Any, api: Any) -> None:
    made = await api.create()
    backend = running.backend
    await backend.observe(made.uid, "RUNNING")
    backend.backend.write((made.uid, 1), "main", 0, b"first\n")
    call = api.stub.StreamLogs(pb.StreamLogsRequest(name=made.name, follow=True))
    frame = await call.read()
    while frame.WhichOneof("frame") != "chunk":
        frame = await call.read()
    assert frame.chunk.text == "first\n"
    await running.stop(server)
    last = await call.read()
    assert last.bookmark.type == pb.BOOKMARK_TYPE_SERVER_DRAINING
    api = running.api(await running.server())
    backend.backend.write((made.uid, 1), "main", 0, b"second\n")
    await backend.observe(made.uid, "SUCCEEDED")
    frames = await asyncio.wait_for(
        read_all(api, made.name, follow=True, resume_token=last.resume_token), 20
    )
    assert "".join(each.chunk.text for each in frames) == "second\n"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("teams/default/experiments/nobody", grpc.StatusCode.NOT_FOUND),
        ("teams/default/experiments/x/attempts/7", grpc.StatusCode.NOT_FOUND),
        ("teams/default/experiments/x/attempts/1/tasks/main-9", grpc.StatusCode.NOT_FOUND),
        ("teams/default/experiments/x/attempts/1/tasks/../..", grpc.StatusCode.INVALID_ARGUMENT),
        ("", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_logs_of_nothing_are_refused(
    api: Any, backend: Any, refused: Any, name: str, code: grpc.StatusCode
) -> None:
    made = await api.create("x")
    await backend.observe(made.uid, "RUNNING")
    assert (await refused(read_all(api, name))).code == code


async def test_a_forged_token_is_refused(api: Any, refused: Any) -> None:
    made = await api.create()
    failure = await refused(
        read_all(api, made.name, resume_token="A" * 40, stream=LogStream.LOG_STREAM_STDOUT)
    )
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.reason == "RESUME_TOKEN_INVALID"
