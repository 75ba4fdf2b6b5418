"""What is wrong with stores in trouble."""

# The signatures are those of the methods that are overridden.
# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import time

from subgrpc.artifacts import failures
from subgrpc.errors import (
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from tests.unit.testing.broken_stores import found_by
from tests.unit.testing.broken_stores.served import ServedStore


@found_by("an_outage")
class TakesAnOutageForAnAbsence(ServedStore):
    def stat(self, key):
        try:
            return super().stat(key)
        except Unavailable:
            return None


@found_by("an_outage", "an_outage_during_a_get")
class TakesAnOutageForNotFound(ServedStore):
    def get(self, key, offset=0, length=None):
        try:
            yield from super().get(key, offset, length)
        except Unavailable:
            raise failures.not_found(self.name, key) from None


@found_by("an_outage")
class ListsNothingInAnOutage(ServedStore):
    def list(self, prefix=""):
        try:
            yield from super().list(prefix)
        except Unavailable:
            return


@found_by("an_outage")
class DeletesNothingInAnOutage(ServedStore):
    def delete(self, key):
        if not self.switch.exists():
            super().delete(key)


@found_by("an_outage", "an_outage_during_a_put")
class LiesInAnOutage(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        if key in ("object", "kept.new"):
            for _ in range(100):
                if self.switch.exists():
                    return
                time.sleep(0.01)
        super().put(key, source, size, sha256, take=take)


@found_by("an_outage")
class WaitsForEver(ServedStore):
    def stat(self, key):
        while key == "kept" and self.switch.exists():
            time.sleep(0.1)
        return super().stat(key)


@found_by("an_outage")
class SaysNotWhen(ServedStore):
    def reach(self):
        try:
            super().reach()
        except Unavailable as error:
            error.retry_after = None
            raise


@found_by("an_outage_during_a_get")
class EndsInAnOutage(ServedStore):
    def get(self, key, offset=0, length=None):
        self.reach()
        pieces = super().get(key, offset, length)
        while True:
            try:
                piece = next(pieces, None)
            except Unavailable:
                return
            if piece is None:
                return
            yield piece


@found_by("an_outage_during_a_put")
class LeavesHalfInAnOutage(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        if key == "object":
            for _ in range(100):
                if self.switch.exists():
                    (self._folder / key).write_bytes(b"half")
                    break
                time.sleep(0.01)
        super().put(key, source, size, sha256, take=take)


@found_by("denied")
class TakesAnyCaller(ServedStore):
    def writable(self):
        self.reach()


@found_by("denied")
class HasItsOwnErrors(ServedStore):
    def writable(self):
        try:
            super().writable()
        except FailedPrecondition as error:
            raise PermissionDenied(error.message, reason=error.reason) from None


@found_by("missing")
class TakesTheMissingForAnOutage(ServedStore):
    def list(self, prefix=""):
        try:
            yield from super().list(prefix)
        except FailedPrecondition as error:
            raise failures.unavailable(self.name, error.message) from None


@found_by("missing")
class TakesTheMissingForNotFound(ServedStore):
    def get(self, key, offset=0, length=None):
        try:
            yield from super().get(key, offset, length)
        except FailedPrecondition as error:
            raise NotFound(error.message, reason="OBJECT_NOT_FOUND") from None


@found_by("full")
class TakesFullForAnOutage(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        try:
            super().put(key, source, size, sha256, take=take)
        except ResourceExhausted as error:
            raise failures.unavailable(self.name, error.message) from None


@found_by("full")
class KeepsWhatHadRoom(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        try:
            super().put(key, source, size, sha256, take=take)
        except ResourceExhausted:
            (self._folder / key).write_bytes(b"half")
            raise
