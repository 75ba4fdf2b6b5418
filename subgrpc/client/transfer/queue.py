"""What is to be sent, shared by the threads that send it and the one that finds it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar


class _Sized(Protocol):
    @property
    def size(self) -> int: ...


ItemT = TypeVar("ItemT", bound=_Sized)


class TransferQueue(Generic[ItemT]):
    """A queue of work, which also knows what was taken and is not done yet.

    The first error of any thread ends the work of all.

    Args:
        most_bytes: of items that wait; then `put` waits.
        most_items: likewise.
    """

    def __init__(self, most_bytes: int, most_items: int) -> None:
        self._most_bytes, self._most_items = most_bytes, most_items
        self._changed = threading.Condition()
        self._waiting: deque[ItemT] = deque()
        self._waiting_bytes = 0
        self._undone = 0
        self._closed = False
        self._error: BaseException | None = None

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the items that nobody has taken yet."""
        return self._waiting_bytes

    @property
    def is_over(self) -> bool:
        """Whether threads shall end: an error came, or all is done and no more will come."""
        return self._error is not None or (self._closed and not self._undone)

    def put(self, item: ItemT, seconds: float) -> bool:
        """Adds an item; false: there was no room for so long, try again.

        Raises:
            Exception: what a thread has failed with.
        """
        with self._changed:
            self._changed.wait_for(self._has_room, seconds)
            self._raise()
            if not self._has_room():
                return False
            self._waiting.append(item)
            self._waiting_bytes += item.size
            self._undone += 1
            self._changed.notify_all()
            return True

    def take(self, seconds: float | None = None) -> ItemT | None:
        """Takes an item; None: there was none for so long, or the work is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.is_over, seconds)
            if not self._waiting or self._error is not None:
                return None
            item = self._waiting.popleft()
            self._waiting_bytes -= item.size
            self._changed.notify_all()
            return item

    def give_back(self, items: Iterable[ItemT]) -> None:
        """Puts what was taken in front of the others again, for somebody else."""
        with self._changed:
            found = list(items)
            self._waiting.extendleft(reversed(found))
            self._waiting_bytes += sum(each.size for each in found)
            self._changed.notify_all()

    def done(self, count: int = 1) -> None:
        """So many that were taken are done."""
        with self._changed:
            self._undone -= count
            if not self._undone:
                self._changed.notify_all()

    def close(self) -> None:
        """No more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Ends the work of all threads; the first error is the one that is raised."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def wait_done(self, seconds: float) -> bool:
        """Waits until nothing is left to do; false: it took longer.

        Raises:
            Exception: what a thread has failed with.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._undone or self._error is not None, seconds)
            self._raise()
            return not self._undone

    def pause(self, seconds: float) -> None:
        """Waits so long, or until the work is over."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_over, seconds)

    def _has_room(self) -> bool:
        if self._error is not None or not self._waiting:
            return True
        room = self._waiting_bytes < self._most_bytes
        return room and len(self._waiting) < self._most_items

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
