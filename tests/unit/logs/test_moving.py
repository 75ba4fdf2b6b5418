"""Output that several servers keep in turn, each in a journal with an order of its own."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from subgrpc.errors import OutOfRange
from subgrpc.journal import JournalStore, JournalWriter
from subgrpc.metastore import AttemptRow, Metastore, Transaction
from subgrpc.names import new_uid
from subgrpc.services.logs import Logs
from subgrpc.tokens import MAX_LENGTH, TokenCodec
from subgrpc.v1.experiment_service_pb2 import (
    Experiment,
    ExperimentState,
    LogFormat,
    StreamLogsRequest,
    StreamLogsResponse,
)

NAME = "teams/default/experiments/e"
KEYS = (("main-0", 1), ("main-0", 2), ("ps-0", 1), ("ps-1", 1))
Key = tuple[str, int]

contents = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
    # Code points that are cut anywhere, and what is none.
    st.lists(st.sampled_from([b"\xf0", b"\x9f", b"\x98", b"\x80", b"\xe2\x82", b"\xc5", b"a"]))
    .map(b"".join),
    st.sampled_from([b"\xff" * 70_000, "€".encode() * 50_000, b"\xac" + "😀".encode() * 40_000]),
)  # fmt: skip
streams = st.fixed_dictionaries(dict.fromkeys(KEYS, contents))
orders = st.lists(
    st.tuples(st.sampled_from(KEYS), st.one_of(st.integers(1, 9), st.integers(1, 70_000))),
    max_size=30,
)
"""Which stream's next bytes come, and how many of them; what is left comes at the end."""


class Piece(NamedTuple):
    """What is appended: output, or a gap."""

    key: Key
    offset: int
    data: bytes
    lost: bool


def pieces(contents: dict[Key, bytes], order: list[tuple[Key, int]], lost: int) -> Iterator[Piece]:
    """The streams in an order; of every `lost` pieces one is a gap (0: none)."""
    at = dict.fromkeys(contents, 0)
    rest = [(key, len(each)) for key, each in contents.items()]
    for number, (key, size) in enumerate([*order, *rest], 1):
        data = contents[key][at[key] : at[key] + size]
        if data:
            yield Piece(key, at[key], data, lost > 0 and not number % lost)
        at[key] += len(data)


class NoPeers:
    """There are other servers, and none of them is asked."""

    def logs(
        self, server: str, request: StreamLogsRequest, attempt: int
    ) -> AsyncGenerator[bytes, None]:
        raise AssertionError(f"{server} was asked")


class Plane:
    """A control plane of which this server keeps the output again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uid = new_uid()
        self.journal = 0

    async def __aenter__(self) -> Plane:
        self.store = await Metastore.open(self.folder)
        identity = self.store.identity
        self.codec = TokenCodec(identity.token_key, identity.history_id)
        experiment = Experiment(
            name=NAME, uid=self.uid, attempt=1, state=ExperimentState.EXPERIMENT_STATE_SUCCEEDED
        )
        experiment.spec.task_groups.add(role="main")
        experiment.spec.task_groups.add(role="ps", replicas=100)

        def mutate(tx: Transaction) -> None:
            tx.insert_experiment(experiment)
            row = AttemptRow(self.uid, 1, "local", b"", tx.now)
            row.journal_server = self.store.server_id
            tx.insert_attempt(row)

        await self.store.write(mutate)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()

    def journals(self) -> JournalStore:
        return JournalStore(self.folder / f"journals-{self.journal}")

    def writer(self) -> JournalWriter:
        return self.journals().writer(self.uid, 1)

    def fill(self, what: Iterator[Piece]) -> None:
        log = self.writer()
        for each in what:
            if each.lost:
                log.gap(*each.key, each.offset, len(each.data), "lost")
            else:
                log.append(*each.key, each.offset, each.data, 0)
        log.seal()
        log.close()

    async def move(self) -> None:
        """From now on the output is in another journal."""
        self.journal += 1

        def mutate(tx: Transaction) -> None:
            row = tx.attempt(self.uid, 1)
            assert row is not None
            row.journal = self.journal
            tx.save_attempt(row)

        await self.store.write_unversioned(mutate)

    async def read(
        self, request: StreamLogsRequest, most: int, *, alone: bool = False
    ) -> list[StreamLogsResponse]:
        """At most so many frames; `alone`: of a server that has no others."""
        peers = None if alone else NoPeers()
        logs = Logs(self.store, self.journals(), self.codec, peers=peers)
        found: list[StreamLogsResponse] = []
        async with aclosing(logs.stream(request, asyncio.Event())) as frames:
            async for frame in frames:
                found.append(StreamLogsResponse.FromString(frame))
                assert len(found[-1].resume_token) <= MAX_LENGTH
                if len(found) == most:
                    break
        return found


def output(frames: list[StreamLogsResponse], key: Key) -> bytes:
    chunks = [each.chunk for each in frames if each.HasField("chunk")]
    return b"".join(
        each.data or each.text.encode() for each in chunks if (each.task, each.stream) == key
    )


def ranges(frames: list[StreamLogsResponse], key: Key) -> list[tuple[int, int]]:
    """What of a stream came, as output or as a gap; format BYTES."""
    found = []
    for frame in frames:
        if frame.HasField("chunk") and (frame.chunk.task, frame.chunk.stream) == key:
            found.append((frame.chunk.offset, frame.chunk.offset + len(frame.chunk.data)))
        if frame.HasField("gap") and (frame.gap.task, frame.gap.stream) == key:
            found.append((frame.gap.offset, frame.gap.offset + frame.gap.length))
    return found


@pytest.mark.thorough
@settings(max_examples=60)
@given(
    streams, st.lists(st.tuples(orders, st.integers(1, 12)), min_size=2, max_size=4), st.booleans()
)
@example(dict.fromkeys(KEYS, "€".encode()), [([(KEYS[0], 2)], 1), ([(KEYS[0], 1)], 9)], True)
def test_whoever_keeps_the_output_nothing_is_lost_or_doubled(
    contents: dict[Key, bytes], turns: list[tuple[list[tuple[Key, int]], int]], text: bool
) -> None:
    """Any orders of the same streams, and any frames behind which the journal is another one."""
    asyncio.run(_check_moves(contents, turns, text))


async def _check_moves(
    contents: dict[Key, bytes], turns: list[tuple[list[tuple[Key, int]], int]], text: bool
) -> None:
    form = LogFormat.LOG_FORMAT_TEXT if text else LogFormat.LOG_FORMAT_BYTES
    request = StreamLogsRequest(name=NAME, format=form)
    frames: list[StreamLogsResponse] = []
    with tempfile.TemporaryDirectory() as folder:
        async with Plane(Path(folder)) as plane:
            for number, (order, most) in enumerate(turns, 1):
                plane.fill(pieces(contents, order, 0))
                frames += await plane.read(request, most if number < len(turns) else 0)
                request.resume_token = frames[-1].resume_token
                await plane.move()
    assert frames[-1].HasField("end")
    for key, raw in contents.items():
        wanted = raw.decode("utf-8", "replace").encode() if text else raw
        assert output(frames, key) == wanted
        assert (
            text
            or [start for start, _ in ranges(frames, key)][1:]
            == [end for _, end in ranges(frames, key)][:-1]
        )


@pytest.mark.thorough
@settings(max_examples=40)
@given(
    streams,
    st.lists(st.tuples(orders, st.integers(1, 12), st.integers(0, 4)), min_size=2, max_size=4),
)
def test_gaps_are_told_once(
    contents: dict[Key, bytes], turns: list[tuple[list[tuple[Key, int]], int, int]]
) -> None:
    """Each byte comes, or is said to be lost, exactly once, though journals lost different ones."""
    asyncio.run(_check_gaps(contents, turns))


async def _check_gaps(
    contents: dict[Key, bytes], turns: list[tuple[list[tuple[Key, int]], int, int]]
) -> None:
    request = StreamLogsRequest(name=NAME, format=LogFormat.LOG_FORMAT_BYTES)
    frames: list[StreamLogsResponse] = []
    with tempfile.TemporaryDirectory() as folder:
        async with Plane(Path(folder)) as plane:
            for number, (order, most, lost) in enumerate(turns, 1):
                plane.fill(pieces(contents, order, lost))
                frames += await plane.read(request, most if number < len(turns) else 0)
                request.resume_token = frames[-1].resume_token
                await plane.move()
    for key, raw in contents.items():
        found = ranges(frames, key)
        assert sum(end - start for start, end in found) == len(raw)
        assert [start for start, _ in found][1:] == [end for _, end in found][:-1]
        for frame in frames:
            chunk = frame.chunk
            if (chunk.task, chunk.stream) == key:
                assert raw[chunk.offset : chunk.offset + len(chunk.data)] == chunk.data


@pytest.mark.thorough
@settings(max_examples=40)
@given(streams, orders, orders, st.integers(0, 5), st.integers(1, 5), st.booleans())
def test_a_tail_goes_on_in_another_journal(
    contents: dict[Key, bytes],
    before: list[tuple[Key, int]],
    after: list[tuple[Key, int]],
    lines: int,
    most: int,
    text: bool,
) -> None:
    """What it left out stays out, also of streams of which it had nothing."""
    asyncio.run(_check_tail(contents, before, after, lines, most, text))


async def _check_tail(
    contents: dict[Key, bytes],
    before: list[tuple[Key, int]],
    after: list[tuple[Key, int]],
    lines: int,
    most: int,
    text: bool,
) -> None:
    form = LogFormat.LOG_FORMAT_TEXT if text else LogFormat.LOG_FORMAT_BYTES
    request = StreamLogsRequest(name=NAME, format=form, tail_lines=lines)
    with tempfile.TemporaryDirectory() as folder:
        async with Plane(Path(folder)) as plane:
            plane.fill(pieces(contents, before, 0))
            wanted = await plane.read(request, 0, alone=True)
            frames = await plane.read(request, most)
            request.resume_token = frames[-1].resume_token
            await plane.move()
            plane.fill(pieces(contents, after, 0))
            frames += await plane.read(request, 0)
    for key in KEYS:
        assert output(frames, key) == output(wanted, key)


async def test_text_never_comes_twice_in_another_form(tmp_path: Path) -> None:
    """A code point of which one journal lost a part, and another did not."""
    request = StreamLogsRequest(name=NAME, format=LogFormat.LOG_FORMAT_TEXT)
    async with Plane(tmp_path) as plane:
        log = plane.writer()
        log.append("main-0", 1, 0, b"\xe2\x82", 0)
        log.gap("main-0", 1, 2, 1, "lost")
        log.close()
        frames = await plane.read(request, 1)
        request.resume_token = frames[-1].resume_token
        await plane.move()
        log = plane.writer()
        log.append("main-0", 1, 0, b"\xe2\x82", 0)
        log.append("main-0", 2, 0, b"x", 0)
        log.append("main-0", 1, 2, b"\xac.", 0)
        log.seal()
        log.close()
        frames += await plane.read(request, 0)
    chunks = [each.chunk for each in frames if each.chunk.stream == 1]
    assert [(each.offset, each.text) for each in chunks] == [(0, "\ufffd"), (2, "\ufffd.")]


async def test_a_gap_of_unknown_length_is_told_once(tmp_path: Path) -> None:
    """By whichever journal; it has no bytes that could be counted."""
    request = StreamLogsRequest(name=NAME, format=LogFormat.LOG_FORMAT_BYTES)
    async with Plane(tmp_path) as plane:
        for _ in range(2):
            log = plane.writer()
            log.append("main-0", 1, 0, b"a", 0)
            log.gap("main-0", 1, 1, 0, "rotated")
            log.append("main-0", 1, 1, b"b", 0)
            log.seal()
            log.close()
            if not plane.journal:
                frames = await plane.read(request, 2)
                await plane.move()
        request.resume_token = frames[-1].resume_token
        frames += await plane.read(request, 0)
    assert [each.WhichOneof("frame") for each in frames] == ["chunk", "gap", "chunk", "end"]
    assert output(frames, KEYS[0]) == b"ab"


async def test_tokens_tell_of_64_streams(tmp_path: Path) -> None:
    """With more, a token is good for the journal that it was made of, and expires with it."""
    request = StreamLogsRequest(name=NAME, format=LogFormat.LOG_FORMAT_BYTES)
    async with Plane(tmp_path) as plane:
        many = {(f"ps-{number % 50}", number // 50 + 1): b"x" * 1000 for number in range(65)}
        few = dict(list(many.items())[:64])
        for contents in (few, many):
            plane.fill(pieces(contents, [], 0))
            frames = await plane.read(request, 0)
            assert len(frames) == len(contents) + 1
            request.resume_token = frames[-2].resume_token
            assert [each.WhichOneof("frame") for each in await plane.read(request, 0)] == ["end"]
            await plane.move()
            plane.fill(pieces(contents, [], 0))
            if contents is few:
                again = await plane.read(request, 0)
                assert [each.WhichOneof("frame") for each in again] == ["end"]
                request.resume_token = ""
                await plane.move()
        with pytest.raises(OutOfRange) as caught:
            await plane.read(request, 0)
        assert caught.value.reason == "RESUME_TOKEN_EXPIRED"
