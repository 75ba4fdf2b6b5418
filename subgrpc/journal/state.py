"""What this process knows of one journal: shared by its writer and all its readers."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from subgrpc.errors import NotFound, OutOfRange
from subgrpc.journal.bell import Bell
from subgrpc.journal.segments import (
    MAGIC,
    SegmentIndex,
    load_index,
    position_of,
    read_sealed,
    segment_numbers,
    segment_path,
    split_position,
    whole_size,
)

_INDEXES: Final = 8


class JournalState:
    """One journal: its segments, its end, and who is to be woken.

    Attributes:
        folder: where its segments are.
        bell: rung after every change.
        numbers: the numbers of its segments, in order.
        end: the position behind the last whole frame.
        sealed: whether it is complete.
        attended: whether this process has a writer of it, so that `end` needs no look at the disk.
        deleted: whether it was deleted.
        written: the positions between which this process wrote everything itself.
        indexes: of segments: the live one's is the writer's own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bell = Bell()
        self.numbers: list[int] = []
        self.end = 0
        self.sealed = False
        self.attended = False
        self.deleted = False
        self.written = (0, 0)
        self.indexes: dict[int, SegmentIndex] = {}
        self._checked = 0
        self.refresh()

    def refresh(self) -> None:
        """Looks at the disk, where another process may be writing, unless a writer here knows.

        Raises:
            NotFound: the journal was deleted.
            DataLoss: the mark of its end is damaged.
        """
        if self.deleted:
            raise NotFound("the logs were deleted", reason="LOGS_DELETED")
        if self.attended or self.sealed:
            return
        end = read_sealed(self.folder)
        numbers = segment_numbers(self.folder)
        if numbers != self.numbers:
            self.indexes.clear()
        self.numbers = numbers
        self.sealed = end is not None
        self.end = self._whole_end() if end is None else end

    def size(self, number: int) -> int:
        """Returns how many bytes of a segment may be read."""
        last, size = split_position(self.end)
        return size if number == last else self._size_on_disk(number)

    def place(self, position: int) -> tuple[int, int]:
        """Returns the segment and the place in it that a position stands for, past segments' ends.

        At the end of everything that is the end itself; (0, 0) while there is nothing.

        Raises:
            OutOfRange: the position was lost in a crash.
        """
        if not self.numbers:
            if position:
                raise _lost()
            return 0, 0
        number, offset = split_position(position)
        if number == self.end >> 32 and len(MAGIC) <= offset and position < self.end:
            return number, offset  # what most followers ask for, most of the time
        if number == 0:
            number, offset = self.numbers[0], 0
        if number not in self.numbers:
            raise _lost()
        offset = max(offset, len(MAGIC))
        size = max(self.size(number), len(MAGIC))
        while offset >= size and number != self.numbers[-1]:
            if offset > size:
                raise _lost()
            number, offset = self.numbers[self.numbers.index(number) + 1], len(MAGIC)
            size = max(self.size(number), len(MAGIC))
        if offset > size:
            raise _lost()
        return number, offset

    def at_end(self, position: int) -> bool:
        """Whether nothing stands behind a position now.

        Raises:
            OutOfRange: the position was lost in a crash.
        """
        return position_of(*self.place(position)) >= self.end

    def index(self, number: int) -> SegmentIndex | None:
        """Returns the index of a segment; None: there is none yet, it would have to be made."""
        found = self.indexes.get(number)
        if found is None:
            found = load_index(self.folder, number)
            if found is not None:
                self.keep_index(number, found)
        return found

    def keep_index(self, number: int, index: SegmentIndex) -> None:
        """Keeps an index at hand; of those that are at hand, the live one's and a few more."""
        kept = list(self.indexes.items())
        live = [each for each in kept if self.numbers and each[0] == self.numbers[-1]]
        others = [each for each in kept if each not in live][-_INDEXES:]
        self.indexes = dict([*others, *live, (number, index)])

    def _whole_end(self) -> int:
        """Returns the position behind the last whole frame on the disk."""
        if not self.numbers:
            return 0
        number = self.numbers[-1]
        checked, offset = split_position(self._checked)
        path = segment_path(self.folder, number)
        offset = whole_size(path, offset if checked == number else len(MAGIC))
        self._checked = position_of(number, offset)
        return self._checked

    def _size_on_disk(self, number: int) -> int:
        try:
            return segment_path(self.folder, number).stat().st_size
        except FileNotFoundError:
            return 0


def _lost() -> OutOfRange:
    return OutOfRange(
        "this place in the log was lost when a server crashed; follow again from the start",
        reason="RESUME_TOKEN_EXPIRED",
    )
