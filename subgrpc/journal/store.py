"""All journals of a data folder: one for every attempt of every experiment."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from subgrpc import faults
from subgrpc.errors import FailedPrecondition, Unavailable
from subgrpc.journal.audit import journals_in
from subgrpc.journal.holding import is_held
from subgrpc.journal.manifest import Manifest
from subgrpc.journal.reader import JournalReader
from subgrpc.journal.state import FetchedState, JournalState
from subgrpc.journal.writer import JournalWriter

_UID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DELETED: Final = ".deleted-"
_FETCHED: Final = ".fetched"
"""The folder of journals of which the artifact store has the originals."""


class JournalStore:
    """The journals in `root`/UID/ATTEMPT. One process writes them; any may read."""

    def __init__(self, root: Path) -> None:
        """Finishes deletions that a crash interrupted; `root` itself is made when needed."""
        self._root = root
        self._lock = threading.Lock()
        self._states: weakref.WeakValueDictionary[tuple[str, int], JournalState] = (
            weakref.WeakValueDictionary()
        )
        self._fetched: weakref.WeakValueDictionary[tuple[str, int], FetchedState] = (
            weakref.WeakValueDictionary()
        )
        # What this process wrote last is likely to be read next: what it knows of it is kept.
        self._recent: deque[JournalState] = deque(maxlen=16)
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="journal")
        for left in root.glob(_DELETED + "*"):
            shutil.rmtree(left, ignore_errors=True)

    def writer(self, uid: str, attempt: int) -> JournalWriter:
        """Opens the journal of an attempt for writing; what a crash tore is cut off first.

        Raises:
            FailedPrecondition: it is open for writing already.
            Unavailable: the disk refuses it.
        """
        state = self._state(uid, attempt)
        with self._lock:
            if state.attended:
                raise FailedPrecondition(
                    f"the journal of {uid}, attempt {attempt}, is being written already",
                    reason="JOURNAL_OPEN",
                )
            writer = JournalWriter(state, self._finisher)
            if state not in self._recent:
                self._recent.append(state)
            return writer

    def reader(self, uid: str, attempt: int) -> JournalReader:
        """Returns a reader of the journal of an attempt, whether it is there yet or not."""
        return JournalReader(self._state(uid, attempt))

    def fetched(
        self, uid: str, attempt: int, manifest: Manifest, used: Callable[[Path], None]
    ) -> JournalReader:
        """Returns a reader of a journal that the artifact store has.

        What it needs and this disk does not have is `Absent`, and has to be put where that says.

        Args:
            uid: of the experiment.
            attempt: of it.
            manifest: what the journal consists of, with digests.
            used: called with the path of each segment that is read, from any thread.
        """
        with self._lock:
            state = self._fetched.get((uid, attempt))
            if state is None:
                folder = self._fetched_folder(uid) / str(int(attempt))
                state = self._fetched[uid, attempt] = FetchedState(folder, manifest, used)
            return JournalReader(state)

    def are_held(self) -> bool:
        """Whether nothing may be evicted now: a backup is being taken. Blocks."""
        return is_held(self._root)

    def all(self) -> list[tuple[str, int]]:
        """The uid and the attempt of every journal that stands here. Blocks."""
        return [(uid, attempt) for uid, attempt, _ in journals_in(self._root)]

    def folder(self, uid: str, attempt: int) -> Path:
        """Where the journal of an attempt stands, if it does."""
        return self._folder(uid, attempt)

    def forget_fetched(self) -> None:
        """Removes all that was fetched; for a start. Blocks."""
        self._remove(self._root / _FETCHED, f"{_DELETED}fetched", [])

    def evict(self, uid: str, attempt: int, *, force: bool = False) -> bool:
        """Removes a complete journal from this disk, which the artifact store has. Blocks.

        Readers are told (`Absent`). Unless `force`, one to which somebody listens is left alone.

        Returns:
            Whether it is gone.

        Raises:
            Unavailable: the disk refuses it.
        """
        folder, name = self._folder(uid, attempt), f"{_DELETED}{uid}-{int(attempt)}"
        with self._lock:
            state = self._states.get((uid, attempt))
            if state is not None:
                if state.attended or (state.bell.listeners and not force):
                    return False
                state.evicted = True
                del self._states[uid, attempt]
            # Whoever asks for a reader now finds the folder as it is from now on.
            self._doom(folder, name)
        self._remove(folder, name, [] if state is None else [state])
        return True

    def exists(self, uid: str, attempt: int) -> bool:
        """Whether anything was ever written or sealed there."""
        return self._folder(uid, attempt).is_dir()

    def listen(self, uid: str, attempt: int, callback: Callable[[], None]) -> Callable[[], None]:
        """Has `callback` called on the running event loop after every change of a journal.

        Changes that come fast are told together.

        Returns:
            What ends it.
        """
        state = self._state(uid, attempt)
        token = state.bell.listen(callback)
        # This also keeps the state, and with it the bell that a later writer will ring.
        return lambda: state.bell.forget(token)

    async def wait(self, uid: str, attempt: int, position: int) -> None:
        """Returns once something stands behind a position, or nothing ever will.

        Raises:
            NotFound: the journal was deleted.
            OutOfRange: the position was lost in a crash.
        """
        changed = asyncio.Event()
        forget = self.listen(uid, attempt, changed.set)
        reader = self.reader(uid, attempt)
        try:
            while not reader.sealed and reader.at_end(position):
                await changed.wait()
                changed.clear()
        finally:
            forget()

    def delete(self, uid: str) -> None:
        """Removes every journal of an experiment; followers learn of it. Blocks; any thread.

        Nothing happens if there is none.

        Raises:
            Unavailable: the disk refuses it.
        """
        with self._lock:
            known = [*self._states.items(), *self._fetched.items()]
        states = [state for (of, _), state in known if of == uid]
        _mark_deleted(states)
        self._remove(self._fetched_folder(uid), f"{_DELETED}{uid}-fetched", [])
        self._remove(self._check(uid), f"{_DELETED}{uid}", states)

    def delete_attempt(self, uid: str, attempt: int) -> None:
        """Removes the journal of one attempt, as `delete` does; it may be begun anew."""
        with self._lock:
            state = self._states.pop((uid, attempt), None)
        states = [] if state is None else [state]
        _mark_deleted(states)
        self._remove(self._folder(uid, attempt), f"{_DELETED}{uid}-{int(attempt)}", states)

    def _remove(self, folder: Path, name: str, states: Sequence[JournalState]) -> None:
        """Removes a folder; the readers of these journals are woken."""
        try:
            self._doom(folder, name)
            shutil.rmtree(self._root / name, ignore_errors=True)
        finally:
            for state in states:
                state.bell.ring()

    def _doom(self, folder: Path, name: str) -> None:
        """Renames a folder first: after a crash it is either all there or being removed."""
        try:
            if folder.exists():
                shutil.rmtree(self._root / name, ignore_errors=True)
                os.replace(folder, self._root / name)
                faults.point("journal.doomed")
        except OSError as error:
            raise Unavailable(
                f"the logs in {folder} cannot be removed: {error.strerror}",
                reason="LOG_STORE_UNAVAILABLE",
                retry_after=1.0,
            ) from error

    def _state(self, uid: str, attempt: int) -> JournalState:
        with self._lock:
            state = self._states.get((uid, attempt))
            if state is None:
                state = self._states[uid, attempt] = JournalState(self._folder(uid, attempt))
            return state

    def _folder(self, uid: str, attempt: int) -> Path:
        return self._check(uid) / str(int(attempt))

    def _fetched_folder(self, uid: str) -> Path:
        return self._root / _FETCHED / self._check(uid).name

    def _check(self, uid: str) -> Path:
        if not _UID.fullmatch(uid):
            raise ValueError(f"{uid!r} is not a uid")
        return self._root / uid


def _mark_deleted(states: Sequence[JournalState]) -> None:
    for state in states:
        state.deleted = True
