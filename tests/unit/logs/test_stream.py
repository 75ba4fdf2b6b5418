from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from subgrpc.errors import InvalidArgument, NotFound
from subgrpc.journal import JournalWriter
from subgrpc.v1.experiment_service_pb2 import BookmarkType, ExperimentState, StreamLogsResponse

if TYPE_CHECKING:
    from conftest import World

NAME = "teams/default/experiments/e"
OUT, ERR = 1, 2


def put(log: JournalWriter, task: str, stream: int, data: bytes, time: int = 0) -> None:
    log.append(task, stream, log.offset(task, stream), data, time)


def kinds(frames: list[StreamLogsResponse]) -> list[str]:
    return [str(frame.WhichOneof("frame")) for frame in frames]


def output(frames: list[StreamLogsResponse]) -> bytes:
    return b"".join(frame.chunk.data or frame.chunk.text.encode() for frame in frames)


async def test_a_complete_log_ends_with_the_experiments_state(world: World) -> None:
    """Chunks say whose they are, where they start and when they came; then `end`."""
    await world.create()
    log = await world.begin()
    put(log, "main-0", OUT, b"hello\n", time=1_700_000_000_123_456)
    put(log, "main-0", ERR, b"oops\n")
    put(log, "main-0", OUT, b"bye\n")
    log.seal()
    await world.become("SUCCEEDED")
    for follow in (False, True):
        frames = await world.read(follow=follow)
        assert kinds(frames) == ["chunk", "chunk", "chunk", "end"]
        first, _, third = (frame.chunk for frame in frames[:3])
        assert (first.attempt, first.task, first.stream, first.offset) == (1, "main-0", OUT, 0)
        assert first.time.ToMicroseconds() == 1_700_000_000_123_456
        assert (third.offset, third.data) == (6, b"bye\n")
        assert frames[-1].end.state == ExperimentState.EXPERIMENT_STATE_SUCCEEDED
        assert all(frame.resume_token for frame in frames)


async def test_without_follow_a_running_log_stops_where_it_is(world: World) -> None:
    """No `end`: more may come."""
    await world.create()
    assert await world.read() == []
    log = await world.begin()
    assert await world.read() == []
    put(log, "main-0", OUT, b"so far")
    frames = await world.read()
    assert kinds(frames) == ["chunk"]
    put(log, "main-0", OUT, b", and on")
    assert output(await world.read(resume_token=frames[0].resume_token)) == b", and on"


async def test_an_ended_experiment_whose_output_still_arrives_has_no_end_yet(
    world: World,
) -> None:
    """Its state comes first, its last output later: `end` is said only after that."""
    await world.create()
    log = await world.begin()
    put(log, "main-0", OUT, b"not all")
    await world.become("SUCCEEDED")
    assert kinds(await world.read()) == ["chunk"]
    log.seal()
    assert kinds(await world.read()) == ["chunk", "end"]


async def test_a_log_that_is_no_longer_in_memory_is_read_from_the_disk(world: World) -> None:
    """The event loop does not wait for it; the output is the same."""
    await world.create()
    log = await world.begin()
    wanted = b"".join(b"%07d\n" % number for number in range(100_000))
    for at in range(0, len(wanted), 50_000):
        put(log, "main-0", OUT, wanted[at : at + 50_000])
    log.seal()
    for path in (world.journals._root / world.uid / "1").glob("*.seg"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert output(await world.read()) == wanted


async def test_a_follower_sees_output_as_it_comes_through_all_attempts(world: World) -> None:
    """From before the first attempt to the end of the last; adjacent output arrives together."""
    await world.create()
    frames = world.frames(follow=True)
    waiting = asyncio.ensure_future(anext(frames))
    await asyncio.sleep(0)
    first = await world.begin()
    put(first, "main-0", OUT, b"first")
    assert (await waiting).chunk.data == b"first"
    waiting = asyncio.ensure_future(anext(frames))
    put(first, "main-0", OUT, b" more")
    put(first, "main-0", OUT, b" and more")
    assert (await waiting).chunk.data == b" more and more"
    waiting = asyncio.ensure_future(anext(frames))
    await asyncio.to_thread(first.seal)
    await world.become("QUEUED")
    second = await world.begin()
    put(second, "main-0", OUT, b"again")
    chunk = (await waiting).chunk
    assert (chunk.attempt, chunk.offset, chunk.data) == (2, 0, b"again")
    await world.become("FAILED")
    waiting = asyncio.ensure_future(anext(frames))
    await asyncio.to_thread(second.seal)
    assert (await waiting).end.state == ExperimentState.EXPERIMENT_STATE_FAILED
    assert [frame async for frame in frames] == []


async def test_a_follower_of_an_attempt_goes_on_with_later_ones_if_asked_to(world: World) -> None:
    """Nothing of those before; the end is the experiment's, not the attempt's."""
    await world.create()
    assert await world.read(name=NAME + "/attempts/1", later_attempts=True) == []
    with pytest.raises(NotFound, match="no attempt 1: its first has not started yet"):
        await world.read(name=NAME + "/attempts/1")
    for number in b"12":
        log = await world.begin()
        put(log, "main-0", OUT, b"try %c" % number)
        log.seal()
        await world.become("QUEUED")
    frames = world.frames(name=NAME + "/attempts/2", follow=True, later_attempts=True)
    assert (await anext(frames)).chunk.data == b"try 2"
    waiting = asyncio.ensure_future(anext(frames))
    await asyncio.sleep(0)
    third = await world.begin()
    put(third, "main-0", OUT, b"try 3")
    chunk = (await waiting).chunk
    assert (chunk.attempt, chunk.data) == (3, b"try 3")
    await asyncio.to_thread(third.seal)
    await world.become("FAILED")
    assert kinds([frame async for frame in frames]) == ["end"]
    with pytest.raises(NotFound, match="no attempt 4: its latest is 3"):
        await world.read(name=NAME + "/attempts/4", later_attempts=True)


async def test_one_attempt_one_task_one_stream(world: World) -> None:
    """Each gets what it asked for and ends by itself."""
    await world.create("main", "ps")
    for number in b"12":
        log = await world.begin()
        put(log, "main-0", OUT, b"main out %c " % number)
        put(log, "ps-0", OUT, b"ps out %c " % number)
        put(log, "main-0", ERR, b"main err %c " % number)
        log.seal()
    assert output(await world.read(name=NAME + "/attempts/2", follow=True)) == (
        b"main out 2 ps out 2 main err 2 "
    )
    later = await world.read(name=NAME + "/attempts/2", later_attempts=True)
    assert output(later) == b"main out 2 ps out 2 main err 2 "
    later = await world.read(name=NAME + "/attempts/1/tasks/ps-0", later_attempts=True)
    assert output(later) == b"ps out 1 ps out 2 "
    frames = await world.read(name=NAME + "/attempts/1/tasks/main-0", follow=True)
    assert output(frames) == b"main out 1 main err 1 "
    assert kinds(frames)[-1] == "end"
    assert output(await world.read(stream=OUT)) == b"main out 1 ps out 1 main out 2 ps out 2 "
    await world.become("SUCCEEDED")
    assert output(await world.read(name=NAME, follow=True, tail_lines=9)) == (
        b"main out 2 ps out 2 main err 2 "
    )


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("teams/default/experiments/other", NotFound),
        ("teams/other/experiments/e", NotFound),
        (NAME + "/attempts/2", NotFound),
        (NAME + "/attempts/0", InvalidArgument),
        (NAME + "/attempts/01", InvalidArgument),
        (NAME + "/attempts/" + "9" * 5000, InvalidArgument),
        (NAME + "/attempts/1/tasks/main-1", NotFound),
        (NAME + "/attempts/1/tasks/main-00", NotFound),
        (NAME + "/attempts/1/tasks/ps-0", NotFound),
        (NAME + "/attempts/1/tasks/main", NotFound),
        (NAME + "/attempts/-", InvalidArgument),
        (NAME + "/attempts/x/tasks/main-0", InvalidArgument),
        (NAME + "/../e", InvalidArgument),
        ("", InvalidArgument),
        ("\x00", InvalidArgument),
    ],
)
async def test_what_is_not_there_is_said(world: World, name: str, error: type[Exception]) -> None:
    """NotFound for what could be, InvalidArgument for what could not."""
    await world.create()
    await world.begin()
    with pytest.raises(error):
        await world.read(name=name)


async def test_a_token_of_another_request_is_refused(world: World) -> None:
    """Another experiment, task, stream or format, or none of ours; `follow` may differ."""
    await world.create(experiment_id="other")
    await world.create()
    log = await world.begin()
    put(log, "main-0", OUT, b"x")
    token = (await world.read())[0].resume_token
    others: list[dict[str, object]] = [
        {"format": "LOG_FORMAT_TEXT"},
        {"stream": OUT},
        {"name": NAME + "/attempts/1"},
        {"name": NAME + "/attempts/1/tasks/main-0"},
        {"name": "teams/default/experiments/other"},
        {"resume_token": token[:-1] + ("A" if token[-1] != "A" else "B")},
        {"resume_token": "garbage"},
    ]
    for other in others:
        with pytest.raises(InvalidArgument) as caught:
            await world.read(**({"resume_token": token} | other))
        assert caught.value.reason == "RESUME_TOKEN_INVALID"
        assert caught.value.violations[0].field == "resume_token"
    assert await world.read(resume_token=token, tail_lines=3) == []


async def test_a_token_of_a_deleted_experiment_is_none_of_its_successor(world: World) -> None:
    """The name is the same, the experiment is not."""
    uid = await world.create()
    put(await world.begin(), "main-0", OUT, b"x")
    token = (await world.read())[0].resume_token
    world.journals.delete(uid)
    await world.metastore.write(lambda tx: tx.delete_experiment(uid))
    await world.create()
    with pytest.raises(InvalidArgument):
        await world.read(resume_token=token)


async def test_a_follower_of_a_deleted_experiment_is_told(world: World) -> None:
    """Wherever it waits: for output, or for the first attempt."""
    uid = await world.create()
    early = asyncio.ensure_future(world.read(follow=True))
    await asyncio.sleep(0)
    await world.metastore.write(lambda tx: tx.delete_experiment(uid))
    with pytest.raises(NotFound):
        await early
    uid = await world.create()
    put(await world.begin(), "main-0", OUT, b"x")
    frames = world.frames(follow=True)
    await anext(frames)
    waiting = asyncio.ensure_future(anext(frames))
    await asyncio.sleep(0)
    await asyncio.to_thread(world.journals.delete, uid)
    with pytest.raises(NotFound):
        await waiting


async def test_silence_has_a_heartbeat_that_can_be_resumed(world: World) -> None:
    """While waiting for the attempt, and for output."""
    world.logs.heartbeat = 0.01
    await world.create()
    frames = world.frames(follow=True)
    beat = await anext(frames)
    assert beat.bookmark.type == BookmarkType.BOOKMARK_TYPE_HEARTBEAT
    log = await world.begin()
    put(log, "main-0", OUT, b"x")
    while (frame := await anext(frames)).WhichOneof("frame") == "bookmark":
        pass
    assert frame.chunk.data == b"x"
    behind = await anext(frames)
    assert behind.bookmark.type == BookmarkType.BOOKMARK_TYPE_HEARTBEAT
    put(log, "main-0", OUT, b"y")
    assert output(await world.read(resume_token=beat.resume_token)) == b"xy"
    assert output(await world.read(resume_token=behind.resume_token)) == b"y"


@pytest.mark.parametrize("attempts", [0, 1])
async def test_a_server_that_stops_says_so(world: World, attempts: int) -> None:
    """The last frame is a bookmark whose token goes on exactly there, at any server."""
    await world.create()
    frames = world.frames(follow=True)
    if attempts:
        log = await world.begin()
        put(log, "main-0", OUT, b"before")
        await anext(frames)
    waiting = asyncio.ensure_future(anext(frames))
    await asyncio.sleep(0)
    world.draining.set()
    last = await waiting
    assert last.bookmark.type == BookmarkType.BOOKMARK_TYPE_SERVER_DRAINING
    assert [frame async for frame in frames] == []
    world.draining.clear()
    log = log if attempts else await world.begin()
    put(log, "main-0", OUT, b"after")
    log.seal()
    await world.become("SUCCEEDED")
    assert output(await world.read(resume_token=last.resume_token, follow=True)) == b"after"


async def test_the_end_can_be_resumed_too(world: World) -> None:
    """A client that lost the connection there gets `end` again and nothing else."""
    await world.create()
    log = await world.begin()
    put(log, "main-0", OUT, b"x")
    log.seal()
    await world.become("CANCELLED")
    end = (await world.read())[-1]
    assert await world.read(resume_token=end.resume_token, follow=True) == [end]


async def test_an_experiment_that_never_ran_has_an_empty_log(world: World) -> None:
    """Cancelled in the queue: the end comes at once, also for a tail."""
    await world.create()
    waiting = asyncio.ensure_future(world.read(follow=True))
    await asyncio.sleep(0)
    await world.become("CANCELLED")
    assert kinds(await waiting) == ["end"]
    assert kinds(await world.read(tail_lines=5)) == ["end"]


async def test_an_attempt_that_is_complete_without_a_journal_is_empty(world: World) -> None:
    """As after a restore without the logs."""
    await world.create()
    (await world.begin()).close()
    row = await world.metastore.attempt(world.uid, 1)
    assert row is not None
    row.logs_complete = True
    await world.metastore.write(lambda tx: tx.save_attempt(row))
    await world.become("FAILED")
    assert kinds(await world.read(follow=True)) == ["end"]


async def test_a_gap_is_a_frame(world: World) -> None:
    """Lost output is never silent; in TEXT a code point that it cuts becomes U+FFFD before it."""
    await world.create()
    log = await world.begin()
    put(log, "main-0", OUT, b"ab\xe2\x82")
    log.gap("main-0", OUT, 4, 100, "rotated away")
    log.append("main-0", OUT, 104, b"cd", 0)
    frames = await world.read(format="LOG_FORMAT_TEXT")
    assert kinds(frames) == ["chunk", "chunk", "gap", "chunk"]
    assert [frame.chunk.text for frame in frames] == ["ab", "\ufffd", "", "cd"]
    gap = frames[2].gap
    assert (gap.attempt, gap.task, gap.stream, gap.offset, gap.length, gap.message) == (
        1, "main-0", OUT, 4, 100, "rotated away",
    )  # fmt: skip
    assert kinds(await world.read()) == ["chunk", "gap", "chunk"]


async def test_a_follower_that_does_not_read_holds_nothing(world: World) -> None:
    """The generator builds when it is asked, and a hundred share what was built."""
    await world.create()
    log = await world.begin()
    frames = [world.frames(follow=True) for _ in range(20)]
    put(log, "main-0", OUT, b"first")
    for each in frames:
        assert (await anext(each)).chunk.data == b"first"
    for _ in range(500):
        put(log, "main-0", OUT, b"x" * 65536)
    assert sum(map(len, world.logs.batches._kept)) < 10
    for each in frames:
        assert (await anext(each)).chunk.data == b"x" * 65536
        await each.aclose()
    assert len(world.logs.batches._kept) == 2


async def test_kept_frames_are_bounded(world: World) -> None:
    """However much is read."""
    await world.create()
    log = await world.begin()
    for _ in range(600):
        put(log, "main-0", OUT, b"x" * 65536)
    log.seal()
    assert len(output(await world.read())) == 600 * 65536
    kept = sum(len(frame) for each in world.logs.batches._kept.values() for frame in each.frames)
    assert kept <= 16 * 1024 * 1024
