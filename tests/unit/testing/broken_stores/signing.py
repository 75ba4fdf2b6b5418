"""What is wrong with signed URLs."""

# The signatures are those of the methods that are overridden.
# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import dataclasses
import hashlib
from datetime import timedelta

from tests.unit.testing.broken_stores import found_by
from tests.unit.testing.broken_stores.served import ServedStore


@found_by("a_signed_get")
class KnowsNoRanges(ServedStore):
    def answer_get(self, key, start, end):
        return super().answer_get(key, None, None)


@found_by("a_signed_get")
class ServesWrongRanges(ServedStore):
    def answer_get(self, key, start, end):
        return super().answer_get(key, start, end and end + 1)


@found_by("a_signed_get_opens_one_object")
class OpensEveryObject(ServedStore):
    def token(self, method, key, query):
        return super().token(method, "", query)


@found_by("a_signed_get_opens_one_object")
class OpensForEverything(ServedStore):
    def token(self, method, key, query):
        return super().token("", key, query)

    def answer_put(self, key, data, wanted):
        return super().answer_put(key, data, wanted) if wanted else (200, b"")


@found_by("a_signed_put", "a_signed_put_of_other_content", "a_signed_put_overwrites_nothing")
class LiesAboutSignedPuts(ServedStore):
    def answer_put(self, key, data, wanted):
        return 200, b""


@found_by("a_signed_put_of_other_content")
class TakesAnyContent(ServedStore):
    def answer_put(self, key, data, wanted):
        return super().answer_put(key, data, hashlib.sha256(data).hexdigest())


@found_by("a_signed_put_of_other_content")
class NeedsNoHeaders(ServedStore):
    def bare(self, wanted):
        return True


@found_by("a_signed_put_overwrites_nothing")
class OverwritesBySignedPut(ServedStore):
    def answer_put(self, key, data, wanted):
        if len(data) == 1000 and self.stat(key) is not None:
            (self._folder / key).write_bytes(data)
        return super().answer_put(key, data, wanted)


@found_by("signed_urls_expire")
class NeverExpires(ServedStore):
    def sign_get(self, key, expires):
        signed = self.signed("GET", key, timedelta(hours=1))
        return dataclasses.replace(signed, expiry=signed.expiry - timedelta(hours=1) + expires)


@found_by("signed_urls_expire")
class PutsNeverExpire(ServedStore):
    def sign_put(self, key, size, sha256, expires):
        return super().sign_put(key, size, sha256, timedelta(hours=1))


@found_by("signed_urls_expire")
class SaysAnotherExpiry(ServedStore):
    def sign_get(self, key, expires):
        signed = super().sign_get(key, expires)
        return signed and dataclasses.replace(signed, expiry=signed.expiry + timedelta(hours=1))
