"""What is wrong with get and stat."""

# The signatures are those of the methods that are overridden.
# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import contextlib
import threading
import time

from subgrpc.artifacts import StoredObject
from subgrpc.errors import DataLoss, NotFound, OutOfRange, SubgrpcError, Unavailable
from tests.unit.testing.broken_stores import found_by
from tests.unit.testing.broken_stores.served import ServedStore


@found_by("ranges", "many_readers", "an_outage_during_a_get", "a_signed_get")
class IgnoresOffsets(ServedStore):
    def get(self, key, offset=0, length=None):
        yield from super().get(key, min(offset, 0), length)


@found_by("ranges", "a_signed_get")
class IgnoresLengths(ServedStore):
    def get(self, key, offset=0, length=None):
        yield from super().get(key, offset, length if length and length < 0 else None)


@found_by("ranges")
class RefusesWhatIsBeyondTheEnd(ServedStore):
    def get(self, key, offset=0, length=None):
        found = self.stat(key)
        if found is not None and offset > found.size:
            raise OutOfRange(f"{self.name}: beyond the end")
        yield from super().get(key, offset, length)


@found_by("ranges_that_are_none")
class CountsFromTheEnd(ServedStore):
    def get(self, key, offset=0, length=None):
        found = self.stat(key)
        if offset < 0 and found is not None:
            offset += found.size
        yield from super().get(key, offset, length)


@found_by("a_big_object", "tidying_up_during_a_put",
          "an_outage_during_a_put", "an_outage_during_a_get",
          "an_object_that_is_deleted_under_its_reader")  # fmt: skip
class EndsEarly(ServedStore):
    def get(self, key, offset=0, length=None):
        count = 0
        for piece in super().get(key, offset, length):
            yield piece
            count += len(piece)
            if count >= 3 << 20:
                return


@found_by("sizes")
class YieldsHugePieces(ServedStore):
    def get(self, key, offset=0, length=None):
        pieces = super().get(key, offset, length)
        yield from [b"".join(pieces)] if key == "sizes/1048577" else pieces


@found_by("sizes")
class YieldsNothing(ServedStore):
    def get(self, key, offset=0, length=None):
        yield from super().get(key, offset, length)
        if key == "sizes/0":
            yield b""


@found_by("a_big_object")
class GetsItAll(ServedStore):
    def get(self, key, offset=0, length=None):
        yield from list(super().get(key, offset, length))


@found_by("what_is_not_there")
class SeesFolders(ServedStore):
    def stat(self, key):
        below = self.list(f"{key}/") if key == "here" else ()
        return super().stat(key) or next((StoredObject(key, 0, each.time) for each in below), None)


@found_by("what_is_not_there")
class TakesTheMissingForEmpty(ServedStore):
    def get(self, key, offset=0, length=None):
        with contextlib.suppress(*[NotFound] if key == "here/object" else ()):
            yield from super().get(key, offset, length)


class Pooled(ServedStore):
    """Base of those with a few connections."""

    connections = 4

    def __init__(self, name, folder) -> None:
        super().__init__(name, folder)
        self.pool = threading.Semaphore(self.connections)

    def connect(self):
        if not self.pool.acquire(timeout=0.05):
            raise Unavailable(f"{self.name}: all connections are used", retry_after=1)


@found_by("readers_that_stop")
class LeaksConnections(Pooled):
    connections = 8

    def get(self, key, offset=0, length=None):
        self.connect()
        try:
            yield from super().get(key, offset, length)
        except SubgrpcError:
            self.pool.release()
            raise
        self.pool.release()


@found_by("many_readers")
class HasFewConnections(Pooled):
    def get(self, key, offset=0, length=None):
        if offset:
            self.connect()
        try:
            yield from super().get(key, offset, length)
            time.sleep(0.1 if offset else 0)
        finally:
            if offset:
                self.pool.release()


@found_by("an_object_that_is_deleted_under_its_reader")
class EndsWithItsObject(ServedStore):
    def get(self, key, offset=0, length=None):
        for piece in super().get(key, offset, length):
            yield piece
            if self.stat(key) is None:
                return


@found_by("an_object_that_is_deleted_under_its_reader")
class FailsWithItsObject(ServedStore):
    def get(self, key, offset=0, length=None):
        for piece in super().get(key, offset, length):
            yield piece
            if self.stat(key) is None:
                raise Unavailable(f"{self.name}: where is it?")


@found_by()
class SaysThatItWasDeleted(ServedStore):
    """No defect: this is allowed."""

    def get(self, key, offset=0, length=None):
        for piece in super().get(key, offset, length):
            yield piece
            if self.stat(key) is None:
                raise DataLoss(f"{self.name}: it was deleted")
