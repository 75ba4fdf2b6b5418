"""StreamLogs on a server that does not keep the output itself."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import grpc
import pytest

from subgrpc.v1 import experiment_service_pb2 as pb
from subgrpc.v1.types_pb2 import TaskState

from .pair import FORMATS, LINES, Pair, finished, followed, output, pair, read, rest, stream

__all__ = ["pair"]

pytestmark = pytest.mark.postgres


async def test_what_runs_elsewhere_is_followed_to_its_end(pair: Pair) -> None:
    """Line by line while it runs, byte for byte, also by one who comes before the first."""
    made = await pair.run(pair.at_keeper)
    following = [
        stream(api, made, follow=True, format=pb.LOG_FORMAT_BYTES)
        for api in (pair.at_other, pair.at_keeper)
    ]
    for number in range(5):
        pair.write(made, 0, b"line %d\n" % number)
        for call in following:
            assert (await asyncio.wait_for(call.read(), 20)).chunk.data == b"line %d\n" % number
    big = bytes(range(256)) * 2000
    pair.write(made, 1, big)
    pair.end(made)
    for call in following:
        frames = await rest(call)
        assert output(frames, "main-1") == big
        assert frames[-1].end.state == pb.EXPERIMENT_STATE_SUCCEEDED


async def test_every_server_sends_the_same_frames(pair: Pair) -> None:
    """With the same tokens: whole, of one task or stream, in both formats, and from a tail."""
    made = await finished(pair)
    for form, (part, fields) in itertools.product(
        FORMATS,
        [
            ("", {}),
            ("", {"follow": True}),
            ("", {"stream": 1}),
            ("/attempts/1", {}),
            ("/attempts/1/tasks/main-1", {"follow": True}),
            ("", {"tail_lines": 10}),
            ("", {"tail_lines": 0}),
            ("/attempts/1/tasks/main-0", {"tail_lines": 7, "follow": True}),
        ],
    ):
        wanted = await read(pair.at_keeper, made, part, format=form, **fields)
        assert await read(pair.at_other, made, part, format=form, **fields) == wanted
        assert wanted[-1].HasField("end")
        if not fields and not part:
            assert output(wanted, "main-0") + output(wanted, "main-1") == b"".join(
                LINES[::2] + LINES[1::2]
            )


@pytest.mark.parametrize("form", FORMATS)
async def test_a_token_of_any_server_is_good_at_the_other(pair: Pair, form: int) -> None:
    """It goes on behind its frame."""
    made = await finished(pair)
    frames = await read(pair.at_other, made, format=form)
    for number in (0, 1, len(frames) // 2, len(frames) - 1):
        token = frames[number].resume_token
        for api in (pair.at_keeper, pair.at_other):
            found = await read(api, made, format=form, resume_token=token)
            assert found == (frames[number + 1 :] or frames[-1:])


async def test_without_following_what_is_there_now_is_all(pair: Pair) -> None:
    """No end is said of an experiment that goes on."""
    made = await pair.run(pair.at_keeper)
    pair.write(made, 0, b"so far\n")
    call = stream(pair.at_keeper, made, follow=True)
    assert (await call.read()).chunk.text == "so far\n"
    call.cancel()
    frames = await read(pair.at_other, made)
    assert [each.chunk.text for each in frames] == ["so far\n"]


async def test_a_server_that_stops_hands_over(pair: Pair, refused: Any) -> None:
    """Its followers are sent away, and go on by token at the other, which collects anew."""
    made = await pair.run(pair.at_keeper)
    calls = [stream(api, made, follow=True) for api in (pair.at_other, pair.at_keeper)]
    tokens = []
    for text in ("one\n", "two\n"):
        pair.write(made, 0, text.encode())
        last = [await call.read() for call in calls]
        assert [each.chunk.text for each in last] == [text] * 2
        tokens = [each.resume_token for each in last]
    pair.write(made, 1, b"another\n")
    stopping = asyncio.ensure_future(pair.running.stop(pair.keeper))
    ended = await asyncio.wait_for(asyncio.gather(*map(rest, calls), return_exceptions=True), 20)
    assert isinstance(ended[0], grpc.aio.AioRpcError)
    assert ended[0].code() == grpc.StatusCode.UNAVAILABLE
    await stopping
    pair.write(made, 0, b"three\n")
    pair.end(made)
    for token in tokens:
        found = await followed(pair.at_other, made, token)
        assert output(found, "main-0") == b"three\n"
        assert output(found, "main-1") == b"another\n"
    whole = await read(pair.at_other, made)
    assert output(whole, "main-0") == b"one\ntwo\nthree\n"


async def test_output_on_a_server_that_is_away_is_unavailable(pair: Pair, refused: Any) -> None:
    """With its name, and when to ask again; once it is back, at another port, all is there."""
    made = await finished(pair)
    whole = await read(pair.at_keeper, made)
    address = pair.keeper.addresses[0]
    await pair.running.stop(pair.keeper)
    failure = await refused(read(pair.at_other, made))
    assert failure.code == grpc.StatusCode.UNAVAILABLE
    assert failure.reason == "LOGS_UNAVAILABLE"
    assert failure.retry_after
    assert address in failure.message
    assert "away since 20" in failure.message
    await pair.start(0)
    assert await read(pair.at_other, made) == whole


async def test_deleted_output_is_gone_for_those_who_follow_elsewhere(
    pair: Pair, refused: Any
) -> None:
    """As for those who follow where it was kept."""
    made = await pair.run(pair.at_keeper)
    pair.write(made, 0, b"x\n")
    call = stream(pair.at_other, made, follow=True)
    assert (await call.read()).chunk.text == "x\n"
    delete = pb.DeleteExperimentRequest(name=made.name, force=True)
    await pair.at_other.stub.DeleteExperiment(delete)
    await pair.backend.stopped(made.uid)
    pair.backend.backend.observe((made.uid, 1), "main", 1, TaskState.TASK_STATE_CANCELLED)
    assert (await refused(rest(call))).code == grpc.StatusCode.NOT_FOUND
