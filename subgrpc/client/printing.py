"""Prints the output of tasks as text, wherever Python's own output goes: a notebook, too."""

from __future__ import annotations

import sys

from subgrpc.v1.experiment_service_pb2 import LogChunk
from subgrpc.v1.types_pb2 import LogStream

_LONGEST_LINE = 64 * 1024
"""A line that is longer is written in pieces: nothing may fill the memory."""


class Printer:
    """Writes chunks of text to `sys.stdout` and `sys.stderr`, as the tasks did.

    With `prefix` every line starts with its task, and lines of different tasks never mix.
    """

    def __init__(self, *, prefix: bool) -> None:
        self._prefix = prefix
        # The unfinished line of every task and stream.
        self._lines: dict[tuple[int, str, int], str] = {}

    def take(self, chunk: LogChunk) -> None:
        """Writes a chunk; with prefixes, an unfinished line only when the rest has come."""
        if not self._prefix:
            self._put(chunk.stream, chunk.text)
            return
        key = (chunk.attempt, chunk.task, chunk.stream)
        *lines, rest = (self._lines.pop(key, "") + chunk.text).split("\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], ""
        if rest:
            self._lines[key] = rest
        if lines:
            self._put(chunk.stream, "".join(f"[{chunk.task}] {line}\n" for line in lines))

    def finish(self) -> None:
        """Writes unfinished lines."""
        for (_, task, stream), rest in self._lines.items():
            self._put(stream, f"[{task}] {rest}\n")
        self._lines.clear()

    def _put(self, stream: int, text: str) -> None:
        target = sys.stderr if stream == LogStream.LOG_STREAM_STDERR else sys.stdout
        target.write(text)
        target.flush()
