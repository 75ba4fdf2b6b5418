"""What this process knows of one journal: shared by its writer and all its readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from subgrpc.errors import NotFound, OutOfRange
from subgrpc.journal.bell import Bell
from subgrpc.journal.manifest import File, Manifest
from subgrpc.journal.segments import (
    MAGIC,
    SegmentIndex,
    index_path,
    load_index,
    position_of,
    read_sealed,
    segment_name,
    segment_numbers,
    segment_path,
    split_position,
    whole_size,
)

_INDEXES: Final = 8


class Absent(Exception):
    """A journal, or a file of one, that is not on this disk: the artifact store has it.

    Attributes:
        file: what is missing; None: all of the journal.
    """

    def __init__(self, file: File | None = None) -> None:
        super().__init__(str(file.path) if file else "the journal was evicted")
        self.file = file


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
        evicted: whether it was removed from this disk, since the artifact store has it.
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
        self.evicted = False
        self.written = (0, 0)
        self.indexes: dict[int, SegmentIndex] = {}
        self._checked = 0
        self.refresh()

    def refresh(self) -> None:
        """Looks at the disk, where another process may be writing, unless a writer here knows.

        Raises:
            NotFound: the journal was deleted.
            Absent: it was evicted.
            DataLoss: the mark of its end is damaged.
        """
        if self.deleted:
            raise deleted()
        if self.evicted:
            raise Absent
        if self.attended or self.sealed:
            return
        end = read_sealed(self.folder)
        numbers = segment_numbers(self.folder)
        if numbers != self.numbers:
            self.indexes.clear()
        self.numbers = numbers
        self.sealed = end is not None
        self.end = self._whole_end() if end is None else end

    def gone(self, number: int) -> Exception:
        """A segment's file is not there: why."""
        try:
            self.refresh()
        except Absent as error:
            return error
        return deleted()

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

    def read_from(self, number: int) -> None:
        """A segment is read: nothing has to be noted of one that stays."""

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


class FetchedState(JournalState):
    """A complete journal of which this disk has the files that were fetched from the store.

    Attributes:
        used: called with the path of each segment that is read.
    """

    def __init__(self, folder: Path, manifest: Manifest, used: Callable[[Path], None]) -> None:
        self.used = used
        self._files = {file.path.name: file for file in manifest.files(folder)}
        super().__init__(folder)
        self.numbers = [each.number for each in manifest.segments]
        self.sealed, self.end = True, manifest.end

    def refresh(self) -> None:
        """There is nothing to look for: it never changes.

        Raises:
            NotFound: the journal was deleted.
        """
        if self.deleted:
            raise deleted()

    def gone(self, number: int) -> Exception:
        """The file can be fetched."""
        return deleted() if self.deleted else Absent(self._files[segment_name(number)])

    def index(self, number: int) -> SegmentIndex:
        """Returns the index of a segment.

        Raises:
            Absent: it is to be fetched first.
        """
        found = super().index(number)
        if found is None:
            raise Absent(self._files[index_path(self.folder, number).name])
        return found

    def read_from(self, number: int) -> None:
        """Notes that a segment is in use."""
        self.used(self._files[segment_name(number)].path)

    def _size_on_disk(self, number: int) -> int:
        return self._files[segment_name(number)].size


def deleted() -> NotFound:
    """What readers of a journal are told that is not there any more."""
    return NotFound("the logs were deleted", reason="LOGS_DELETED")


def _lost() -> OutOfRange:
    return OutOfRange(
        "this place in the log was lost when a server crashed; follow again from the start",
        reason="RESUME_TOKEN_EXPIRED",
    )
