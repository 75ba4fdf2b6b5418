from __future__ import annotations

import asyncio
import tempfile
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from subgrpc.journal import JournalStore, writer
from subgrpc.metastore import AttemptRow, Metastore, Transaction
from subgrpc.names import new_uid
from subgrpc.services.logs import Logs
from subgrpc.tokens import TokenCodec
from subgrpc.v1.experiment_service_pb2 import (
    Experiment,
    ExperimentState,
    LogChunk,
    LogFormat,
    StreamLogsRequest,
    StreamLogsResponse,
)

NAME = "teams/default/experiments/e"
TASKS = ("main-0", "ps-0", "ps-1")
Piece = tuple[int, str, int, bytes]

data = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.text(min_size=1, max_size=12).map(str.encode),
    # Code points that the driver's reads cut anywhere.
    st.sampled_from([b"\xf0", b"\x9f", b"\x98", b"\x80", b"\xe2\x82", b"\xac", b"\xc5", b"a\n"]),
    st.sampled_from([b"\xff" * 70_000, "€".encode() * 50_000, b"\xac" + "😀".encode() * 40_000]),
)
pieces = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from(TASKS), st.sampled_from([1, 2]), data),
    max_size=14,
).map(lambda each: sorted(each, key=lambda piece: piece[0]))


class Plane:
    """A control plane with one experiment that is over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uid = new_uid()

    async def __aenter__(self) -> Plane:
        self.metastore = await Metastore.open(self.folder)
        self.journals = JournalStore(self.folder / "journals")
        identity = self.metastore.identity
        self.codec = TokenCodec(identity.token_key, identity.history_id)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.metastore.close()

    async def fill(self, pieces: list[Piece]) -> None:
        attempts = max((piece[0] for piece in pieces), default=0)
        experiment = Experiment(
            name=NAME,
            uid=self.uid,
            attempt=attempts,
            state=ExperimentState.EXPERIMENT_STATE_SUCCEEDED,
        )
        experiment.spec.task_groups.add(role="main")
        experiment.spec.task_groups.add(role="ps", replicas=2)

        def mutate(tx: Transaction) -> None:
            tx.insert_experiment(experiment)
            for attempt in range(1, attempts + 1):
                tx.insert_attempt(AttemptRow(self.uid, attempt, "local", b"", tx.now))

        await self.metastore.write(mutate)
        for attempt in range(1, attempts + 1):
            log = self.journals.writer(self.uid, attempt)
            for of, task, stream, piece in pieces:
                if of == attempt:
                    log.append(task, stream, log.offset(task, stream), piece, 0)
            log.seal()
            log.close()

    async def read(self, request: StreamLogsRequest) -> list[StreamLogsResponse]:
        # A server of its own for every call: nothing that is kept in memory may matter.
        logs = Logs(self.metastore, JournalStore(self.folder / "journals"), self.codec)
        frames = [frame async for frame in logs.stream(request, asyncio.Event())]
        parsed = [StreamLogsResponse.FromString(frame) for frame in frames]
        assert [each.SerializeToString(deterministic=True) for each in parsed] == frames
        return parsed

    async def one_by_one(self, request: StreamLogsRequest) -> list[StreamLogsResponse]:
        """Reads as a client that loses the connection behind every frame."""
        found: list[StreamLogsResponse] = []
        logs = Logs(self.metastore, self.journals, self.codec)
        while not found or not found[-1].HasField("end"):
            async with aclosing(logs.stream(request, asyncio.Event())) as frames:
                async for frame in frames:
                    found.append(StreamLogsResponse.FromString(frame))
                    break
            assert request.resume_token != found[-1].resume_token or found[-1].HasField("end")
            assert len(found) < 1000
            request.resume_token = found[-1].resume_token
        return found


def _check_offsets(
    frames: list[StreamLogsResponse], raw: dict[tuple[int, str, int], bytes]
) -> None:
    """What lies between two chunks' offsets is what the first of them holds."""
    ends = {key: len(each) for key, each in raw.items()}
    for frame in reversed(frames):
        if frame.HasField("chunk"):
            chunk = frame.chunk
            key = (chunk.attempt, chunk.task, chunk.stream)
            piece = raw[key][chunk.offset : ends[key]]
            text = piece.decode("utf-8", "replace").encode()
            assert content(chunk) == (piece if chunk.HasField("data") else text)
            ends[key] = chunk.offset
    assert not any(ends.values())


def outputs(frames: list[StreamLogsResponse]) -> dict[tuple[int, str, int], bytes]:
    found: dict[tuple[int, str, int], bytes] = {}
    for frame in frames:
        if frame.HasField("chunk"):
            chunk = frame.chunk
            key = (chunk.attempt, chunk.task, chunk.stream)
            found[key] = found.get(key, b"") + content(chunk)
    return found


def content(chunk: LogChunk) -> bytes:
    return chunk.data or chunk.text.encode()


def expected(
    pieces: list[Piece], text: bool, attempt: int, task: str, stream: int, later: bool = False
) -> dict[tuple[int, str, int], bytes]:
    found: dict[tuple[int, str, int], bytes] = {}
    for of, of_task, of_stream, piece in pieces:
        wanted = attempt in (0, of) or (later and of > attempt)
        if wanted and task in ("", of_task) and stream in (0, of_stream):
            key = (of, of_task, of_stream)
            found[key] = found.get(key, b"") + piece
    if text:
        return {key: raw.decode("utf-8", "replace").encode() for key, raw in found.items()}
    return found


@settings(max_examples=30, deadline=None)
@given(
    pieces,
    st.sampled_from([LogFormat.LOG_FORMAT_BYTES, LogFormat.LOG_FORMAT_TEXT]),
    st.sampled_from(["", *TASKS]),
    st.sampled_from([0, 1, 2]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([64, 100_000, 64 << 20]),
)
@example(
    [(1, "main-0", 1, b"\xff" * 65536)], LogFormat.LOG_FORMAT_TEXT, "", 0, False, False, 64 << 20
)
def test_every_token_gives_exactly_the_rest(
    pieces: list[Piece],
    log_format: int,
    task: str,
    stream: int,
    follow: bool,
    later: bool,
    size: int,
) -> None:
    """Whole, the stream is what was written, or that as text; cut anywhere, it goes on there.

    So is that of one attempt, or of one and all after it, or of one task in these.
    """
    attempt = pieces[0][0] if pieces and (task or later) else 0
    name = NAME
    if attempt:
        name += f"/attempts/{attempt}" + (f"/tasks/{task}" if task else "")
    request = StreamLogsRequest(
        name=name,
        format=log_format,  # type: ignore[arg-type]
        stream=stream,  # type: ignore[arg-type]
        follow=follow,
        later_attempts=later,
    )
    raw = expected(pieces, False, attempt, task if attempt else "", stream, later)
    asyncio.run(_check_resume(pieces, request, raw, size))


async def _check_resume(
    pieces: list[Piece],
    request: StreamLogsRequest,
    raw: dict[tuple[int, str, int], bytes],
    size: int,
) -> None:
    wanted = raw
    if request.format == LogFormat.LOG_FORMAT_TEXT:
        wanted = {key: each.decode("utf-8", "replace").encode() for key, each in raw.items()}
    before, writer.SEGMENT_SIZE = writer.SEGMENT_SIZE, size  # type: ignore[misc]
    try:
        with tempfile.TemporaryDirectory() as folder:
            async with Plane(Path(folder)) as plane:
                await plane.fill(pieces)
                frames = await plane.read(request)
                assert frames[-1].HasField("end")
                assert outputs(frames) == wanted
                assert all(len(content(frame.chunk)) <= 65536 for frame in frames)
                _check_offsets(frames, raw)
                for number, frame in enumerate(frames):
                    request.resume_token = frame.resume_token
                    rest = frames[number + 1 :] or frames[-1:]
                    found = await plane.read(request)
                    assert outputs(found) == outputs(rest)
                    assert found[-1] == frames[-1]
                request.resume_token = ""
                assert outputs(await plane.one_by_one(request)) == wanted
    finally:
        writer.SEGMENT_SIZE = before  # type: ignore[misc]


@pytest.mark.thorough
@settings(max_examples=25, deadline=None)
@given(pieces, st.integers(0, 4), st.booleans())
def test_a_tail_is_the_end_of_the_whole(pieces: list[Piece], lines: int, text: bool) -> None:
    """Of each stream of the latest attempt; and it can be resumed like the whole."""
    asyncio.run(_check_tail(pieces, lines, text))


async def _check_tail(pieces: list[Piece], lines: int, text: bool) -> None:
    log_format = LogFormat.LOG_FORMAT_TEXT if text else LogFormat.LOG_FORMAT_BYTES
    latest = max((piece[0] for piece in pieces), default=0)
    whole = expected(pieces, text, latest, "", 0)
    with tempfile.TemporaryDirectory() as folder:
        async with Plane(Path(folder)) as plane:
            await plane.fill(pieces)
            request = StreamLogsRequest(name=NAME, format=log_format, tail_lines=lines)
            frames = await plane.read(request)
            for key, found in outputs(frames).items():
                assert whole[key].endswith(found)
            if not lines:
                assert outputs(frames) == {}
            for number, frame in enumerate(frames):
                request.resume_token = frame.resume_token
                rest = frames[number + 1 :] or frames[-1:]
                assert outputs(await plane.read(request)) == outputs(rest)
