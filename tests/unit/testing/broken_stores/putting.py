"""What is wrong with put, and with what a store says of itself."""

# The signatures are those of the methods that are overridden.
# ruff: noqa: ANN001, ANN201, ANN206

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

from subgrpc.artifacts import StoreSettings
from subgrpc.artifacts.keys import check_key
from subgrpc.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    Unavailable,
)
from tests.unit.testing.broken_stores import found_by
from tests.unit.testing.broken_stores.served import ServedStore

BIG = 1 << 20


@found_by("its_settings")
class HasAnotherName(ServedStore):
    scheme = "other"


@found_by("wrong_settings")
class TakesAnyOption(ServedStore):
    @classmethod
    def from_settings(cls, settings):
        known = {k: v for k, v in settings.options.items() if k in ("port", "quota", "readonly")}
        return super().from_settings(StoreSettings(settings.name, settings.url, known))


@found_by("wrong_settings")
class RepeatsThePassword(ServedStore):
    @classmethod
    def from_settings(cls, settings):
        try:
            return super().from_settings(settings)
        except InvalidArgument as error:
            text = f"{error.message} {settings.url}"
            raise InvalidArgument(text, reason=error.reason) from None


@found_by("check")
class LeavesItsCheck(ServedStore):
    def check(self):
        super().check()
        (self._folder / "checked").touch()


@found_by(
    "sizes", "a_big_object", "a_put_that_is_killed", "tidying_up_during_a_put", "full",
    "an_object_that_is_deleted_under_its_reader", "an_outage_during_a_get",
    "an_outage_during_a_put",
)  # fmt: skip
class LiesAboutSuccess(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        if size <= BIG:
            super().put(key, source, size, sha256, take=take)


@found_by("nothing_is_seen_by_halves", "a_put_that_is_killed")
class WritesInPlace(ServedStore):
    kills = 3

    def put(self, key, source, size, sha256, *, take=False):
        if self.stat(key) is not None or size < 100_000 or not source.exists():
            super().put(key, source, size, sha256, take=take)
            return
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        time.sleep(0.3)
        path.unlink()
        super().put(key, source, size, sha256, take=take)


@found_by("sizes")
class ForgetsWhatIsEmpty(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        if key != "sizes/0":
            super().put(key, source, size, sha256, take=take)


@found_by("sizes")
class ChangesItsSource(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        super().put(key, source, size, sha256)
        if key == "sizes/1":
            source.write_bytes(b"")


@found_by("taking")
class TakesHalf(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        super().put(key, source, size, sha256)
        if take:
            os.truncate(source, size // 2)


@found_by("taking", "many_threads")
class TakesForNothing(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        if take and self.stat(key) is None:
            source.unlink()
        else:
            super().put(key, source, size, sha256)


@found_by("a_wrong_size")
class TrustsTheSize(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        if source.exists() and 0 < source.stat().st_size != size and self.stat(key) is None:
            size = source.stat().st_size
        super().put(key, source, size, sha256, take=take)


@found_by("a_wrong_digest")
class TrustsTheDigest(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        if key == "wrong" and size == 1000:
            sha256 = hashlib.sha256(source.read_bytes()).digest()
        super().put(key, source, size, sha256, take=take)


@found_by("a_wrong_size", "a_wrong_digest", "a_signed_put_of_other_content")
class KeepsWhatIsWrong(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        try:
            super().put(key, source, size, sha256, take=take)
        except InvalidArgument as error:
            if error.reason == "OBJECT_MISMATCH":
                path = self._folder / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(source.read_bytes())
            raise


@found_by("a_wrong_size", "a_wrong_digest")
class LeavesWhatItBegan(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        try:
            super().put(key, source, size, sha256, take=take)
        except InvalidArgument as error:
            if error.reason == "OBJECT_MISMATCH":
                (self._folder / ".incoming" / f"of-{threading.get_ident()}").touch()
            raise


@found_by(
    "putting_again", "one_key_at_the_same_time", "a_signed_put", "an_outage_during_a_put"
)  # fmt: skip
class RefusesWhatIsThere(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        found = self.stat(key)
        if found is not None and found.size == size:
            raise AlreadyExists(f"{self.name} has it")
        super().put(key, source, size, sha256, take=take)


@found_by("a_key_that_is_taken", "a_signed_put_overwrites_nothing")
class Overwrites(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        found = self.stat(key)
        if found is not None and found.size != size:
            self.delete(key)
        super().put(key, source, size, sha256, take=take)


@found_by("putting_again")
class WritesAgain(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        super().put(key, source, size, sha256)
        os.utime(self._folder / key)


@found_by("a_big_object")
class ReadsItAll(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        data = source.read_bytes() if source.exists() else b""
        super().put(key, source, size, sha256, take=take)
        del data


@found_by("a_source_that_is_not_there")
class BlamesItself(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        try:
            super().put(key, source, size, sha256, take=take)
        except InvalidArgument as error:
            if error.reason != "UNREADABLE":
                raise
            raise Unavailable(f"{self.name}: cannot read") from None


class LooseKeys(ServedStore):
    """Base of those that take keys which are none."""

    def loose(self, key):
        return key

    def put(self, key, source, size, sha256, *, take=False):
        super().put(self.loose(key), source, size, sha256, take=take)

    def stat(self, key):
        return super().stat(self.loose(key))


@found_by("keys_that_nobody_may_have")
class LowersKeys(LooseKeys):
    def loose(self, key):
        return key.lower()


@found_by("keys_that_nobody_may_have")
class StripsKeys(LooseKeys):
    def loose(self, key):
        return key.rstrip("\n")


@found_by("keys_that_all_stores_take")
class RefusesLongKeys(ServedStore):
    def put(self, key, source, size, sha256, *, take=False):
        if len(check_key(self.name, key)) > 100:
            raise FailedPrecondition("too long")
        super().put(key, source, size, sha256, take=take)


@found_by("many_threads", "one_key_at_the_same_time", "a_long_list")
class OneThreadAtATime(ServedStore):
    busy = False

    def put(self, key, source, size, sha256, *, take=False):
        if self.busy:
            raise Unavailable("another thread is just putting")
        self.busy = True
        time.sleep(0.005)
        try:
            super().put(key, source, size, sha256, take=take)
        finally:
            self.busy = False


@found_by("another_store_of_the_same_place", "a_signed_put")
class KnowsOnlyItsOwn(ServedStore):
    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        self.known: set[str] = set()

    def put(self, key, source, size, sha256, *, take=False):
        super().put(key, source, size, sha256, take=take)
        self.known.add(key)

    def stat(self, key):
        found = super().stat(key)
        ours = key in self.known or key.startswith("killed/")
        return found if ours else None


@found_by(
    "a_key_that_is_taken", "a_wrong_size", "a_wrong_digest", "a_source_that_is_not_there",
    "keys_that_nobody_may_have", "ranges_that_are_none", "what_is_not_there",
    "prefixes_that_are_none", "missing",
)  # fmt: skip
class NamesNobody(ServedStore):
    name = "shelf"  # type: ignore[assignment]

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__("somebody", folder)
