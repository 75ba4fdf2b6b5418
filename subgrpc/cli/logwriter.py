"""Writes tasks' output: byte for byte for one task, with the task before each line for several."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, BinaryIO

from subgrpc.cli import output

if TYPE_CHECKING:
    from subgrpc.v1.experiment_service_pb2 import LogChunk, LogGap, StreamLogsResponse

_LONGEST_LINE = 64 * 1024
"""A line that is longer is written in pieces: nothing may fill the memory."""


class LogWriter:
    """Writes frames: stdout of the tasks to `out`, stderr to `err`.

    With `prefix` every line starts with its task, and lines of different tasks never mix.
    """

    def __init__(
        self, *, prefix: bool, out: BinaryIO | None = None, err: BinaryIO | None = None
    ) -> None:
        from subgrpc.v1.types_pb2 import LogStream

        self._prefix = prefix
        self._stderr = LogStream.LOG_STREAM_STDERR
        self._out = sys.stdout.buffer if out is None else out
        self._err = sys.stderr.buffer if err is None else err
        # The unfinished line of every task and stream.
        self._lines: dict[tuple[str, int], bytes] = {}
        self._attempt = 0

    def take(self, frame: StreamLogsResponse) -> None:
        """Writes what a frame holds."""
        kind = frame.WhichOneof("frame")
        if kind == "chunk":
            self._note_attempt(frame.chunk.attempt)
            self._write(frame.chunk)
        elif kind == "gap":
            self._tell_gap(frame.gap)

    def finish(self) -> None:
        """Writes unfinished lines."""
        for (task, stream), rest in self._lines.items():
            if rest:
                self._put(stream, self._prefixed(task, rest) + b"\n")
        self._lines.clear()

    def _write(self, chunk: LogChunk) -> None:
        if not self._prefix:
            self._put(chunk.stream, chunk.data)
            return
        key = (chunk.task, chunk.stream)
        *lines, rest = (self._lines.pop(key, b"") + chunk.data).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        self._lines[key] = rest
        if lines:
            text = b"".join(self._prefixed(chunk.task, line) + b"\n" for line in lines)
            self._put(chunk.stream, text)

    def _put(self, stream: int, data: bytes) -> None:
        target = self._err if stream == self._stderr else self._out
        target.write(data)
        # A line that is there is seen now, also through a pipe.
        target.flush()

    def _note_attempt(self, attempt: int) -> None:
        if attempt == self._attempt:
            return
        if self._attempt:
            self.finish()
            output.note(f"attempt {attempt}")
        self._attempt = attempt

    def _tell_gap(self, gap: LogGap) -> None:
        if not gap.task:
            note = f"the output of attempt {gap.attempt} is gone: {output.clean(gap.message)}"
            output.note(note)
            return
        length = f"{gap.length} bytes" if gap.length else "an unknown number of bytes"
        stream = "stderr" if gap.stream == self._stderr else "stdout"
        output.note(f"{length} of {gap.task}'s {stream} are lost: {output.clean(gap.message)}")

    def _prefixed(self, task: str, line: bytes) -> bytes:
        return b"[" + task.encode() + b"] " + line
