"""How far a transfer is, in the last line of a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

import click

from subgrpc.cli import output

if TYPE_CHECKING:
    from subgrpc.client import Progress

_WINDOW = 5.0
"""Seconds that the rate is taken over."""
_INTERVAL = 0.1
_LEAST = 0.5
"""Seconds before which nothing is shown: what is done at once needs no bar."""


def is_wanted(form: str, quiet: bool) -> bool:
    """Whether there is somebody to look at a bar."""
    return not quiet and form in ("table", "wide") and sys.stderr.isatty()


class Rate:
    """Bytes a second over the last few seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now: float, done: int) -> float:
        """Notes how many bytes are done; returns the rate, 0 while it is not known."""
        self._seen.append((now, done))
        while now - self._seen[0][0] > _WINDOW and len(self._seen) > 2:
            self._seen.popleft()
        then, before = self._seen[0]
        return max(done - before, 0) / (now - then) if now > then else 0.0


class Bar:
    """A line that is written again and again, and is gone when it is left.

    Args:
        word: what is being done.
        shown: whether it is shown at all.
    """

    def __init__(self, word: str, *, shown: bool) -> None:
        self._word, self._shown = word, shown
        self._rate = Rate()
        self._began = self._told = time.monotonic()
        self._width = 0

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._width:
            self._write("")
            click.echo("\r", err=True, nl=False)

    def show(self, progress: Progress) -> None:
        """Shows how far it is, unless it was shown a moment ago."""
        now = time.monotonic()
        if not self._shown or now - self._began < _LEAST or now - self._told < _INTERVAL:
            return
        self._told = now
        rate = self._rate.add(now, progress.done_bytes)
        room = max(shutil.get_terminal_size().columns - 1, 10)
        self._write(line(self._word, progress, rate)[:room])

    def _write(self, text: str) -> None:
        click.echo(f"\r{text:<{self._width}}", err=True, nl=False)
        self._width = len(text)


def line(word: str, progress: Progress, rate: float) -> str:
    """What is shown: "pushing   45 %  1.2 GiB of 2.6 GiB  310 MiB/s  0:04 left"."""
    from subgrpc.quantities import show_bytes

    total, done = progress.total_bytes, min(progress.done_bytes, progress.total_bytes)
    if progress.phase not in ("sending", "receiving", "verifying") or not total:
        return f"{word}: {progress.phase}"
    parts = [
        f"{word}  {100 * done // total:3} %",
        f"{show_bytes(done)} of {show_bytes(total)}",
        f"{show_bytes(round(rate))}/s",
    ]
    if rate and done < total:
        minutes, seconds = divmod(round((total - done) / rate), 60)
        parts.append(f"{minutes}:{seconds:02} left" if minutes < 600 else output.span(minutes * 60))
    return "  ".join(parts)
