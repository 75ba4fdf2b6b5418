"""Follows one stream of one task: the file that the user's process appends to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from subgrpc.driver import LogChunk, LogGap
from subgrpc.driver.local.notify import Notifier

CHUNK = 64 * 1024
"""Most bytes of one chunk."""
_PACE = 0.01
_QUICK_LOOKS = 20
"""Looks at the end of a file that may follow each other within `_PACE` seconds. After that they
are that far apart: lines come at once, and a process that floods its output is read in batches."""
_KEEP = 32
"""Bytes before the place we came to that are compared with the file."""
_POLL = 1.0
"""Seconds between two looks at a file that the kernel does not watch for us."""
_LOOK_ANYWAY = 10.0
"""Seconds between two looks at one that it does."""


async def follow(
    path: Path,
    offset: int,
    *,
    notifier: Notifier | None,
    ended: Callable[[], bool],
    bell: asyncio.Event,
) -> AsyncIterator[LogChunk | LogGap]:
    """Yields a file's bytes from an offset on, as it grows.

    Args:
        path: the file; it may not be there yet.
        offset: where to start.
        notifier: wakes us; None: yield what is there now, and no more.
        ended: whether nothing will be appended any more. It is asked before the file is read.
        bell: set whenever `ended` may have changed, and by us.
    """
    pace = _Pace()
    with _Tail(path, offset) as tail:
        gap = tail.skip_lost()
        if gap is not None:
            yield gap
        while True:
            over = notifier is None or ended()
            bell.clear()
            while data := tail.read():
                yield LogChunk(offset=tail.offset - len(data), data=data)
            if over:
                return
            assert notifier is not None
            watched = tail.opened and notifier.wake_on_write(path, bell)
            if watched and tail.has_more():
                continue  # it grew before the watch stood
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(bell.wait(), _LOOK_ANYWAY if watched else _POLL)
            await pace.keep()


class _Pace:
    """Slows down what happens too often."""

    def __init__(self) -> None:
        self._last = 0.0
        self._quick = 0

    async def keep(self) -> None:
        """Returns at once, or after a moment if it is called again and again."""
        since = time.monotonic() - self._last
        self._quick = self._quick + 1 if since < _PACE else 0
        if self._quick > _QUICK_LOOKS:
            await asyncio.sleep(_PACE - since)
            self._quick -= 1
        self._last = time.monotonic()


class _Tail:
    """Reads a growing file; one that was truncated goes on from its new beginning.

    A shell's `> /dev/stderr` truncates the file. What it held is with us already, as far as it was
    read; what comes counts on from there. The shift is kept beside the file for the next reader.
    A truncated file is shorter than it was, or has other bytes before the place we came to.
    """

    def __init__(self, path: Path, offset: int) -> None:
        self.offset = offset
        self._path = path
        self._file = -1
        self._last = b""
        self._shift_path = path.with_name(f"{path.name}.shift")
        self._shift = _read_number(self._shift_path)

    def __enter__(self) -> _Tail:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            os.close(self._file)

    @property
    def opened(self) -> bool:
        """Whether the file is there."""
        return self._file >= 0

    def skip_lost(self) -> LogGap | None:
        """Goes on behind what was truncated away before this reader came."""
        lost = self._shift - self.offset
        if lost <= 0:
            return None
        self.offset = self._shift
        text = "the task truncated its own output"
        return LogGap(offset=self.offset - lost, length=lost, message=text)

    def has_more(self) -> bool:
        """Whether something was not read yet."""
        return os.fstat(self._file).st_size != self.offset - self._shift

    def read(self) -> bytes:
        """Returns the next bytes; empty at the end."""
        if self._file < 0:
            try:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return b""
        data = os.pread(self._file, CHUNK, self.offset - self._shift)
        if self._was_truncated(data):
            self._truncated()
            data = os.pread(self._file, CHUNK, 0)
        if data:
            self._last = data[-_KEEP:]
            self.offset += len(data)
        return data

    def _was_truncated(self, data: bytes) -> bool:
        """Whether `data` is not what follows what was read before.

        What stood before it is looked at after it was read, so that no truncation comes between;
        and by a read of its own, so that nothing has to be cut off: that would copy the data.
        """
        last = self._last
        if last and os.pread(self._file, len(last), self.offset - self._shift - len(last)) != last:
            return True
        return not data and self._shrunk()

    def _shrunk(self) -> bool:
        return os.fstat(self._file).st_size < self.offset - self._shift

    def _truncated(self) -> None:
        self._last = b""
        self._shift = self.offset
        temporary = self._shift_path.with_name(f".{self._shift_path.name}")
        temporary.write_text(str(self._shift))
        temporary.rename(self._shift_path)


def _read_number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return 0
