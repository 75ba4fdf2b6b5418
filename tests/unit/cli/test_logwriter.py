"""Output of tasks: byte for byte for one, whole lines with the task's name for several."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subgrpc.cli.logwriter import LogWriter
from subgrpc.v1.experiment_service_pb2 import LogGap, StreamLogsResponse
from subgrpc.v1.types_pb2 import LogStream

OUT, ERR = LogStream.LOG_STREAM_STDOUT, LogStream.LOG_STREAM_STDERR
PIECES = st.lists(
    st.tuples(
        st.sampled_from(["a-0", "b-1"]),
        st.sampled_from([OUT, ERR]),
        st.text("ab\n").map(str.encode) | st.binary(max_size=6),
    ),
    max_size=20,
)


def chunk(
    task: str, stream: LogStream.ValueType, data: bytes, attempt: int = 1
) -> StreamLogsResponse:
    """A frame with output."""
    frame = StreamLogsResponse()
    frame.chunk.task, frame.chunk.stream, frame.chunk.data = task, stream, data
    frame.chunk.attempt = attempt
    return frame


def written(frames: list[StreamLogsResponse], *, prefix: bool) -> tuple[bytes, bytes]:
    """What comes out at stdout and stderr."""
    out, err = io.BytesIO(), io.BytesIO()
    writer = LogWriter(prefix=prefix, out=out, err=err)
    for frame in frames:
        writer.take(frame)
    writer.finish()
    return out.getvalue(), err.getvalue()


@given(PIECES)
def test_one_task_is_byte_exact(pieces: list[tuple[str, LogStream.ValueType, bytes]]) -> None:
    """Binary, half lines, half characters: nothing is added, changed or held back."""
    out, err = written([chunk(*piece) for piece in pieces], prefix=False)
    assert out == b"".join(data for _, stream, data in pieces if stream == OUT)
    assert err == b"".join(data for _, stream, data in pieces if stream == ERR)


@given(PIECES)
def test_lines_of_several_tasks_never_mix(
    pieces: list[tuple[str, LogStream.ValueType, bytes]],
) -> None:
    """Each line has its task; without the names each task's stream is what it wrote."""
    out, err = written([chunk(*piece) for piece in pieces], prefix=True)
    for task in ("a-0", "b-1"):
        for stream, seen in ((OUT, out), (ERR, err)):
            mark = f"[{task}] ".encode()
            lines = [line.removeprefix(mark) for line in seen.split(b"\n") if line.startswith(mark)]
            wrote = b"".join(data for t, s, data in pieces if (t, s) == (task, stream))
            # The end of the last line is added where it is missing.
            assert lines == (wrote.removesuffix(b"\n").split(b"\n") if wrote else [])


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    """It is written in pieces."""
    out = io.BytesIO()
    writer = LogWriter(prefix=True, out=out, err=io.BytesIO())
    for _ in range(20):
        writer.take(chunk("a-0", OUT, b"x" * 65536))
    assert out.getvalue().count(b"x") >= 18 * 65536


def test_lost_output_and_new_attempts_are_said_on_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Never among the output."""
    gap = StreamLogsResponse(
        gap=LogGap(attempt=1, task="a-0", stream=OUT, offset=5, length=7, message="disk full")
    )
    out, _ = written([chunk("a-0", OUT, b"x"), gap, chunk("a-0", OUT, b"y", 2)], prefix=False)
    assert out == b"xy"
    said = capsys.readouterr().err
    assert "7 bytes of a-0's stdout are lost: disk full" in said
    assert "attempt 2" in said
