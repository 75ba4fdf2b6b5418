"""Logs that are older than they may be go, and whoever asks for them is told."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

from subgrpc.metastore.logs import LogState
from subgrpc.v1.experiment_service_pb2 import StreamLogsRequest, StreamLogsResponse

from .shelf import OUT, Shelf, kinds, output

LINES = [("main-0", OUT, b"line %d\n" % number) for number in range(1000)]
DAY = 86_400.0


async def test_an_expired_log_is_a_gap_and_an_end(shelf: Shelf) -> None:
    """With a reason; the experiment itself, and logs that are younger, stay."""
    old = await shelf.ended("old", LINES, ago=31 * DAY)
    young = await shelf.ended("young", LINES, ago=29 * DAY)
    await shelf.archive()
    assert await shelf.expire(30 * DAY) == 1
    frames = await shelf.read("old", follow=True)
    assert kinds(frames) == ["gap", "end"]
    gap = frames[0].gap
    assert (gap.attempt, gap.task, gap.length, gap.reason) == (1, "", 0, "LOGS_EXPIRED")
    assert "--log-retention" in gap.message
    assert output(await shelf.read("young")) == b"".join(data for _, _, data in LINES)
    assert not shelf.journals.exists(old, 1)
    assert shelf.journals.exists(young, 1)
    assert await shelf.metastore.get_experiment_by_uid(old) is not None


async def test_it_is_removed_from_the_store_and_from_the_disk(shelf: Shelf, tmp_path: Path) -> None:
    """Also what was fetched of it."""
    uid = await shelf.ended("e", LINES, ago=2 * DAY)
    await shelf.archive()
    await shelf.evict(uid)
    await shelf.read("e")
    fetched = tmp_path / "journals" / ".fetched"
    assert list(fetched.rglob("*.seg"))
    await shelf.expire(DAY)
    assert list(fetched.rglob("*.seg")) == []
    await shelf.collect()
    assert shelf.objects() == 0


async def test_what_the_store_never_got_expires_as_well(shelf: Shelf) -> None:
    """It was away all the time."""
    uid = await shelf.ended("e", LINES, ago=2 * DAY)
    await shelf.expire(DAY)
    assert not shelf.journals.exists(uid, 1)
    assert kinds(await shelf.read("e")) == ["gap", "end"]
    await shelf.archive()
    log = await shelf.metastore.logs.get(uid, 1)
    assert log is not None
    assert (log.state, log.local) == (LogState.EXPIRED, 0)


async def test_the_gap_comes_once_and_only_to_whom_something_is_missing(shelf: Shelf) -> None:
    """A token from its middle meets the gap, one from its end or behind the gap does not."""
    await shelf.ended("e", LINES, ago=2 * DAY)
    before = await shelf.read("e")
    await shelf.archive()
    await shelf.expire(DAY)
    all_read = await shelf.read("e", resume_token=before[-1].resume_token)
    assert kinds(all_read) == ["end"]
    half = await shelf.read("e", tail_lines=3)
    assert kinds(half) == ["gap", "end"]
    assert kinds(await shelf.read("e", resume_token=half[0].resume_token)) == ["end"]


async def test_a_log_that_expires_while_it_is_read_ends_with_the_gap(
    shelf: Shelf, tmp_path: Path
) -> None:
    """Where it was; what was read before stays read."""
    uid = await shelf.ended("e", [("main-0", OUT, b"a" * 90_000)], LINES, ago=2 * DAY)
    await shelf.archive()
    await shelf.evict(uid)
    request = StreamLogsRequest(name="teams/default/experiments/e", format="LOG_FORMAT_BYTES")
    found: list[StreamLogsResponse] = []
    async with aclosing(shelf.logs.stream(request, shelf.draining)) as frames:
        async for frame in frames:
            found.append(StreamLogsResponse.FromString(frame))
            if len(found) == 1:
                await shelf.expire(DAY)
                await shelf.collect()
    assert kinds(found)[-2:] == ["gap", "end"]
    assert output(found).startswith(b"a" * 60_000)


async def test_without_a_limit_nothing_ends(shelf: Shelf) -> None:
    """Logs are kept until their experiment is deleted."""
    await shelf.ended("e", LINES, ago=10_000 * DAY)
    await shelf.archive()
    assert await shelf.expire(20_000 * DAY) == 0
    assert kinds(await shelf.read("e"))[-1] == "end"
