"""What is wrong with list, delete and abandoned."""

# The signatures are those of the methods that are overridden.
# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import itertools
import os
import time
from datetime import timedelta

from subgrpc.artifacts.keys import check_key
from subgrpc.errors import NotFound
from tests.unit.testing.broken_stores import found_by
from tests.unit.testing.broken_stores.served import ServedStore


@found_by("a_long_list")
class ListsOnePage(ServedStore):
    def list(self, prefix=""):
        yield from itertools.islice(super().list(prefix), 50)


@found_by("lists")
class MatchesFolders(ServedStore):
    def list(self, prefix=""):
        if not prefix or prefix.endswith("/") or self.stat(prefix):
            yield from super().list(prefix)


@found_by("lists")
class KnowsNoZone(ServedStore):
    def list(self, prefix=""):
        for each in super().list(prefix):
            zone = each.time.tzinfo if prefix else None
            yield each._replace(time=each.time.replace(tzinfo=zone))


@found_by("lists")
class ListsAnotherTime(ServedStore):
    def list(self, prefix=""):
        for each in super().list(prefix):
            yield each._replace(time=each.time + timedelta(seconds=2))


@found_by("lists", "nothing_is_seen_by_halves")
class ListsNoSizes(ServedStore):
    def list(self, prefix=""):
        for each in super().list(prefix):
            yield each._replace(size=0)


@found_by("a_long_list")
class ListsTwice(ServedStore):
    def list(self, prefix=""):
        yield from super().list(prefix)
        if prefix == "many/":
            yield from itertools.islice(super().list(prefix), 1)


@found_by("prefixes_that_are_none")
class ListsWhatNobodyCanMean(ServedStore):
    def list(self, prefix=""):
        yield from super().list("zz" if prefix.startswith("/") else prefix)


@found_by("deleting_while_listing")
class LosesItsPlace(ServedStore):
    def list(self, prefix=""):
        last = ""
        for n, each in enumerate(super().list(prefix)):
            if n == 20 and self.stat(last) is None:
                return
            last = each.key
            yield each


@found_by("deleting_what_is_not_there")
class MissesWhatIsNotThere(ServedStore):
    def delete(self, key):
        if self.stat(key) is None:
            raise NotFound(f"{self.name} has no {key}")
        super().delete(key)


@found_by("deleting_what_is_not_there")
class DeletesFolders(ServedStore):
    def delete(self, key):
        for each in list(super().list(f"{key}/")):
            super().delete(each.key)
        super().delete(key)


@found_by("deleting")
class DeletesByPrefix(ServedStore):
    def delete(self, key):
        for each in list(super().list(check_key(self.name, key))):
            if each.key == key or each.key.startswith(f"{key}."):
                super().delete(each.key)


@found_by("deleting", "another_store_of_the_same_place")
class DeletesNothing(ServedStore):
    def delete(self, key):
        if key not in ("shared", "deleted/a"):
            super().delete(key)


@found_by("what_is_abandoned")
class CountsWhatIsNotThere(ServedStore):
    def abandoned(self, older_than):
        return super().abandoned(older_than) or 1


@found_by("what_is_abandoned", "a_put_that_is_killed")
class AbandonsObjects(ServedStore):
    def abandoned(self, older_than):
        for each in list(super().list()):
            if not older_than:
                self.delete(each.key)
        return super().abandoned(older_than)


class Slow(ServedStore):
    """Base of those that leave something behind when they are killed."""

    def put(self, key, source, size, sha256, *, take=False):
        if size < 1 << 20 or self.stat(key):
            super().put(key, source, size, sha256, take=take)
            return
        begun = self._folder / ".incoming" / f"begun-{key.replace('/', '-')}-{os.getpid()}"
        begun.parent.mkdir(exist_ok=True)
        begun.write_bytes(b"half")
        time.sleep(0.2)
        super().put(key, source, size, sha256, take=take)
        begun.unlink()


@found_by("a_put_that_is_killed")
class NeverTidiesUp(Slow):
    kills = 3

    def abandoned(self, older_than):
        return 0


@found_by("tidying_up_during_a_put")
class TidiesTooMuch(Slow):
    def abandoned(self, older_than):
        return super().abandoned(timedelta())
