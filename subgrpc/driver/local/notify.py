"""Wakes the driver when files change: inotify, and a slow poll where it has nothing free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog
from asyncinotify import Event, Inotify, Mask, Watch

_log = structlog.get_logger(__name__)
_CACHE = 64
"""Events of full size that are read at once."""


class Notifier:
    """Watches folders of tasks, and files that are being followed.

    `poll` says whether something could not be watched, so that the caller has to look by itself.
    """

    def __init__(self, overflowed: Callable[[], None]) -> None:
        """`overflowed` is called when events were lost: everything has to be looked at."""
        self._overflowed = overflowed
        self._folders: dict[Path, Watch] = {}
        self._callbacks: dict[int, Callable[[str], None]] = {}
        self._files: dict[int, set[asyncio.Event]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._inotify: Inotify | None = None

    def start(self) -> None:
        """Begins to listen, if the kernel has an instance left for us."""
        try:
            self._inotify = Inotify(cache_size=_CACHE)
        except OSError as error:
            _log.warning("inotify.unavailable", error=str(error))
            return
        self._reader = asyncio.create_task(self._read(self._inotify), name="inotify")

    async def close(self) -> None:
        """Stops listening."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
        self._folders.clear()
        self._callbacks.clear()

    def watch_folder(self, folder: Path, changed: Callable[[str], None]) -> bool:
        """Calls `changed` with the name of a file that was renamed into a folder, or closed.

        Returns False if it has to be polled.
        """
        if folder in self._folders:
            return True
        watch = self._add(folder, Mask.MOVED_TO | Mask.CLOSE_WRITE)
        if watch is None:
            return False
        self._folders[folder] = watch
        self._callbacks[watch.wd] = changed
        return True

    def forget_folder(self, folder: Path) -> None:
        """Stops watching a folder."""
        watch = self._folders.pop(folder, None)
        if watch is None or self._inotify is None:
            return
        del self._callbacks[watch.wd]
        try:
            self._inotify.rm_watch(watch)
        except OSError:
            return  # it went with its folder

    def wake_on_write(self, file: Path, event: asyncio.Event) -> bool:
        """Sets an event, once, when a file is written to. Returns False if it has to be polled.

        Once: a process that floods its output must not flood the driver with events.
        """
        watch = self._add(file, Mask.MODIFY | Mask.ONESHOT)
        if watch is None:
            return False
        self._files.setdefault(watch.wd, set()).add(event)
        return True

    def _add(self, path: Path, mask: Mask) -> Watch | None:
        if self._inotify is None:
            return None
        try:
            return self._inotify.add_watch(path, mask)
        except OSError:  # no watch is left (ENOSPC), or the path is gone
            return None

    async def _read(self, inotify: Inotify) -> None:
        async for event in inotify:
            try:
                self._dispatch(event)
            except OSError as error:  # one task's disk error must not blind us to the others
                _log.warning("inotify.look", error=str(error))

    def _dispatch(self, event: Event) -> None:
        if Mask.Q_OVERFLOW in event.mask:
            self._overflowed()
        watch = event.watch
        if watch is None:
            return
        for waiting in self._files.pop(watch.wd, ()):
            waiting.set()
        changed = self._callbacks.get(watch.wd)
        if changed is not None and event.name is not None:
            changed(event.name.name)
