"""Streams of the client against a real gRPC server that breaks them on purpose."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from subgrpc.client import Client, connect
from subgrpc.errors import NotFound, OutOfRange, SubgrpcError, Unavailable
from subgrpc.v1 import experiment_service_pb2 as v1
from subgrpc.v1.experiment_service_pb2 import (
    BookmarkType,
    ChangeType,
    Experiment,
    ExperimentState,
    StreamLogsResponse,
    WatchExperimentsResponse,
)
from subgrpc.v1.experiment_service_pb2_grpc import (
    ExperimentServiceServicer,
    add_ExperimentServiceServicer_to_server,
)

NAME = "teams/default/experiments/x"
CHUNKS = [bytes([n]) * (n % 7 + 1) for n in range(40)]


class Breaks(ExperimentServiceServicer):
    """Serves a log and a watch; each call ends as the script says.

    A script entry is the number of frames that are sent and what happens then: a status code,
    "drain" (a bookmark, then the end), or "end".
    """

    def __init__(self) -> None:
        self.script: list[tuple[int, str | grpc.StatusCode]] = []
        self.tokens: list[str] = []
        self.changes: list[WatchExperimentsResponse] = []
        self.experiment = Experiment(name=NAME, uid="u")
        self.silent = threading.Event()

    def StreamLogs(  # noqa: N802
        self, request: v1.StreamLogsRequest, context: grpc.ServicerContext
    ) -> Iterator[StreamLogsResponse]:
        frames = []
        for number, data in enumerate(CHUNKS):
            frame = StreamLogsResponse(resume_token=str(number + 1))
            frame.chunk.data = data
            frames.append(frame)
        frames.append(StreamLogsResponse(resume_token=str(len(CHUNKS) + 1), end=v1.LogEnd()))
        yield from self._broken(frames, request.resume_token, context, StreamLogsResponse)

    def WatchExperiments(  # noqa: N802
        self, request: v1.WatchExperimentsRequest, context: grpc.ServicerContext
    ) -> Iterator[WatchExperimentsResponse]:
        yield from self._broken(
            self.changes, request.resume_token, context, WatchExperimentsResponse
        )

    def GetExperiment(  # noqa: N802
        self, request: v1.GetExperimentRequest, context: grpc.ServicerContext
    ) -> v1.GetExperimentResponse:
        return v1.GetExperimentResponse(experiment=self.experiment)

    def _broken(
        self, frames: list[Any], token: str, context: grpc.ServicerContext, kind: type[Any]
    ) -> Iterator[Any]:
        self.tokens.append(token)
        count, then = self.script.pop(0) if self.script else (len(frames), "end")
        start = int(token or 0)
        yield from frames[start : start + count]
        if isinstance(then, grpc.StatusCode):
            context.abort(then, "broken on purpose")
        if then == "silence":
            self.silent.wait(10)
        if then == "drain":
            frame = kind(resume_token=str(min(start + count, len(frames))))
            frame.bookmark.type = BookmarkType.BOOKMARK_TYPE_SERVER_DRAINING
            yield frame


@contextmanager
def serving(servicer: Breaks, port: int = 0) -> Iterator[tuple[grpc.Server, int]]:
    """A server on a free port, or on one that is given."""
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    add_ExperimentServiceServicer_to_server(servicer, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield server, bound
    finally:
        servicer.silent.set()
        server.stop(0).wait()


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Breaks, Client]]:
    """A server without a script, and a client of it."""
    servicer = Breaks()  # type: ignore[abstract]
    with serving(servicer) as (_, port), connect(f"127.0.0.1:{port}") as client:
        yield servicer, client


@pytest.fixture
def breaks(served: tuple[Breaks, Client]) -> Breaks:
    """The servicer, with nothing left of the test before."""
    served[0].script, served[0].tokens, served[0].changes = [], [], []
    return served[0]


@pytest.fixture
def client(served: tuple[Breaks, Client]) -> Client:
    """The client."""
    return served[1]


def read(client: Client, **options: object) -> bytes:
    """The whole log."""
    return b"".join(frame.chunk.data for frame in client.follow_logs(NAME, **options))  # type: ignore[arg-type]


BREAKS = st.tuples(
    st.integers(0, 12),
    st.sampled_from(["drain", grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED]),
)


@settings(max_examples=20, deadline=None)
@given(script=st.lists(BREAKS, max_size=5))
def test_no_byte_is_lost_or_doubled_however_the_stream_breaks(
    served: tuple[Breaks, Client], script: list[tuple[int, str | grpc.StatusCode]]
) -> None:
    """UNAVAILABLE, cancelled calls and draining servers, at any frame, in any order."""
    servicer, client = served
    servicer.script, servicer.tokens = list(script), []
    assert read(client) == b"".join(CHUNKS)


def test_a_stream_goes_on_behind_the_last_frame_it_handed_out(
    breaks: Breaks, client: Client
) -> None:
    """The token of that frame is what the next call starts from."""
    breaks.script = [(3, grpc.StatusCode.UNAVAILABLE), (0, "drain"), (4, "drain")]
    assert read(client) == b"".join(CHUNKS)
    assert breaks.tokens == ["", "3", "3", "7"]


def test_losing_and_finding_the_connection_is_told_once_each(
    breaks: Breaks, client: Client
) -> None:
    """Ten failed tries are one loss; a server that drains is none."""
    told: list[str] = []
    breaks.script = [
        (2, grpc.StatusCode.UNAVAILABLE),
        (0, grpc.StatusCode.UNAVAILABLE),
        (0, grpc.StatusCode.UNAVAILABLE),
        (2, "drain"),
    ]
    read(client, on_loss=lambda error: told.append(error.reason), on_back=lambda: told.append("ok"))
    assert told == ["SERVER_UNREACHABLE", "ok"]


def test_patience_ends(breaks: Breaks, client: Client) -> None:
    """A server that stays away is an error in the end, with the reason met last."""
    away = grpc.StatusCode.UNAVAILABLE
    breaks.script = [(1, away), *((0, away) for _ in range(50))]
    got: list[bytes] = []
    frames = client.follow_logs(NAME, patience=0.3)
    with pytest.raises(Unavailable) as caught:
        got.extend(frame.chunk.data for frame in frames)
    assert caught.value.reason == "SERVER_UNREACHABLE"
    assert got == CHUNKS[:1]


def test_what_the_server_refuses_is_no_lost_connection(breaks: Breaks, client: Client) -> None:
    """NOT_FOUND and the like are raised at once."""
    breaks.script = [(1, grpc.StatusCode.NOT_FOUND)]
    with pytest.raises(NotFound, match="broken on purpose"):
        read(client)
    assert len(breaks.tokens) == 1


def test_a_stream_can_be_closed_from_another_thread(breaks: Breaks, client: Client) -> None:
    """The iteration then ends without an error."""
    breaks.silent.clear()
    breaks.script = [(2, "silence")]
    frames = client.follow_logs(NAME)
    seen = []
    for frame in frames:
        seen.append(frame.chunk.data)
        if len(seen) == 2:
            threading.Thread(target=frames.close).start()
    assert seen == CHUNKS[:2]


def test_a_server_that_is_killed_and_started_again_is_met_again() -> None:
    """A connection that is refused for a while, then works."""
    servicer = Breaks()  # type: ignore[abstract]
    lost = threading.Event()
    with serving(servicer) as (server, port), connect(f"127.0.0.1:{port}") as client:
        servicer.script = [(5, "silence")]
        frames = iter(client.follow_logs(NAME, on_loss=lambda _: lost.set()))
        got = bytearray(b"".join(next(frames).chunk.data for _ in range(5)))
        server.stop(0).wait()
        rest: list[bytes] = []
        reader = threading.Thread(target=lambda: rest.extend(each.chunk.data for each in frames))
        reader.start()
        assert lost.wait(10)
        servicer.silent.set()
        with serving(servicer, port):
            reader.join(20)
        assert bytes(got) + b"".join(rest) == b"".join(CHUNKS)


def change(
    token: int, state: ExperimentState.ValueType, kind: ChangeType.ValueType
) -> WatchExperimentsResponse:
    """A frame of a watch."""
    frame = WatchExperimentsResponse(resume_token=str(token))
    frame.change.type = kind
    frame.change.experiment.name, frame.change.experiment.state = NAME, state
    return frame


def complete(token: int) -> WatchExperimentsResponse:
    """The bookmark behind the initial state."""
    frame = WatchExperimentsResponse(resume_token=str(token))
    frame.bookmark.type = BookmarkType.BOOKMARK_TYPE_INITIAL_STATE_COMPLETE
    return frame


RUNNING = ExperimentState.EXPERIMENT_STATE_RUNNING
FAILED = ExperimentState.EXPERIMENT_STATE_FAILED
ADDED, MODIFIED = ChangeType.CHANGE_TYPE_ADDED, ChangeType.CHANGE_TYPE_MODIFIED


def test_wait_returns_the_experiment_as_it_ended(breaks: Breaks, client: Client) -> None:
    """Over a broken connection, too."""
    breaks.changes = [change(1, RUNNING, ADDED), complete(2), change(3, FAILED, MODIFIED)]
    breaks.script = [(1, grpc.StatusCode.UNAVAILABLE), (1, "drain")]
    assert client.wait(NAME).state == FAILED
    assert breaks.tokens == ["", "1", "2"]


def test_wait_starts_anew_when_its_changes_are_no_longer_kept(
    breaks: Breaks, client: Client
) -> None:
    """RESUME_TOKEN_EXPIRED is nothing that its caller has to know."""
    breaks.changes = [change(1, RUNNING, ADDED), complete(2), change(3, FAILED, MODIFIED)]
    breaks.script = [(2, grpc.StatusCode.UNAVAILABLE), (0, grpc.StatusCode.OUT_OF_RANGE)]
    assert client.wait(NAME).state == FAILED
    assert breaks.tokens == ["", "2", ""]


def test_a_watch_says_that_its_token_expired(breaks: Breaks, client: Client) -> None:
    """There the caller holds state that is now out of date."""
    breaks.script = [(0, grpc.StatusCode.OUT_OF_RANGE)]
    with pytest.raises(OutOfRange):
        list(client.watch(resume_token="1"))


def test_wait_for_a_deleted_experiment_ends(breaks: Breaks, client: Client) -> None:
    """Whether it is deleted meanwhile, or just before the watch began."""
    breaks.changes = [
        change(1, RUNNING, ADDED),
        complete(2),
        change(3, RUNNING, ChangeType.CHANGE_TYPE_REMOVED),
    ]
    with pytest.raises(NotFound, match="was deleted"):
        client.wait(NAME)
    breaks.changes = [complete(1)]
    breaks.silent.clear()
    breaks.script = [(1, "silence")]
    with pytest.raises(NotFound, match="was deleted"):
        client.wait(NAME)
    breaks.silent.set()


def test_wait_ends_after_its_timeout(breaks: Breaks, client: Client) -> None:
    """With a reason of its own."""
    breaks.changes = [change(1, RUNNING, ADDED), complete(2)]
    breaks.silent.clear()
    breaks.script = [(2, "silence")]
    with pytest.raises(Unavailable, match=r"has not ended within 0\.2 s") as caught:
        client.wait(NAME, timeout=0.2)
    assert caught.value.reason == "DEADLINE_EXCEEDED"
    breaks.silent.set()


def explained(reason: str) -> bytes:
    """A status with an ErrorInfo."""
    packed = AnyMessage()
    packed.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="subgrpc.org"))
    return bytes(status_pb2.Status(code=13, details=[packed]).SerializeToString())


def test_an_error_that_the_server_explains_is_its_answer(client: Client, breaks: Breaks) -> None:
    """INTERNAL with an incident is not taken for a broken connection."""

    class Explains(Breaks):
        def StreamLogs(  # noqa: N802
            self, request: v1.StreamLogsRequest, context: grpc.ServicerContext
        ) -> Iterator[StreamLogsResponse]:
            context.set_trailing_metadata((("grpc-status-details-bin", explained("INTERNAL")),))
            context.abort(grpc.StatusCode.INTERNAL, "RST_STREAM incident 4711")
            yield StreamLogsResponse()

    with (
        serving(Explains()) as (_, port),  # type: ignore[abstract]
        connect(f"127.0.0.1:{port}") as other,
        pytest.raises(SubgrpcError, match="incident 4711") as caught,
    ):
        read(other)
    assert caught.value.reason == "INTERNAL"
