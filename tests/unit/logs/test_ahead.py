from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from subgrpc.errors import NotFound
from subgrpc.journal import STRIDE, JournalWriter
from subgrpc.v1.experiment_service_pb2 import StreamLogsResponse

if TYPE_CHECKING:
    from conftest import World

PIECE = 50_000
"""No divisor of a stride: frames end anywhere in it."""


def write(log: JournalWriter, pieces: int) -> bytes:
    """Appends pieces that all differ; returns them."""
    offset = log.offset("main-0", 1)
    content = b"".join(b"%09d\n" % (offset + at) for at in range(0, pieces * PIECE, 10))
    for at in range(0, len(content), PIECE):
        log.append("main-0", 1, offset + at, content[at : at + PIECE], 0)
    return content


async def take(world: World, **fields: object) -> list[StreamLogsResponse]:
    """Everything, by one who leaves the event loop to others after each frame, as a server does."""
    found = []
    async for frame in world.frames(**fields):
        found.append(frame)
        for _ in range(3):
            await asyncio.sleep(0)
    return found


def output(frames: list[StreamLogsResponse]) -> bytes:
    at = frames[0].chunk.offset
    for frame in frames:
        if frame.HasField("chunk"):
            assert frame.chunk.offset == at, "a hole, or output that came twice"
            at += len(frame.chunk.data)
    return b"".join(frame.chunk.data for frame in frames)


async def test_every_frame_is_there_once_and_its_token_goes_on_behind_it(world: World) -> None:
    """Also where the frames behind it had been built before it was taken."""
    await world.create()
    log = await world.begin()
    content = write(log, 20)
    log.seal()
    await world.become("SUCCEEDED")
    frames = await take(world, follow=True)
    assert output(frames) == content
    for number in (0, 1, 2, 7):
        rest = await take(world, resume_token=frames[number].resume_token)
        assert rest == frames[number + 1 :]


async def test_what_is_appended_meanwhile_follows(world: World) -> None:
    """A follower who is behind, and the program that goes on."""
    await world.create()
    log = await world.begin()
    content = write(log, 10)
    found: list[StreamLogsResponse] = []
    async for frame in world.frames(follow=True):
        found.append(frame)
        await asyncio.sleep(0)
        if len(content) < 60 * PIECE:
            content += write(log, 1)
        elif not log._state.sealed:
            log.seal()
            await world.become("SUCCEEDED")
    assert output(found) == content
    assert found[-1].HasField("end")


async def test_a_follower_who_is_joined_by_another_gets_what_both_get(world: World) -> None:
    """Whether frames are shared or not changes nothing of them."""
    await world.create()
    log = await world.begin()
    content = write(log, 30)
    log.seal()
    await world.become("SUCCEEDED")
    alone = await take(world)
    assert output(alone) == content
    together = await asyncio.gather(*(take(world) for _ in range(3)))
    late = None
    first: list[StreamLogsResponse] = []
    async for frame in world.frames():
        first.append(frame)
        await asyncio.sleep(0)
        if len(first) == 5:
            late = asyncio.ensure_future(take(world))
    assert late is not None
    assert first == alone
    assert [*together, await late] == [alone] * 4


async def test_a_deletion_reaches_one_whose_next_frames_are_built(world: World) -> None:
    """At most what had been built still comes."""
    await world.create()
    log = await world.begin()
    write(log, 40)
    left: list[int] = []

    async def follow() -> None:
        async for frame in world.frames(follow=True):
            left.append(len(frame.chunk.data))
            if len(left) == 1:
                await asyncio.sleep(0)
                world.journals.delete(world.uid)

    with pytest.raises(NotFound):
        await follow()
    assert 0 < sum(left) < 3 * STRIDE
