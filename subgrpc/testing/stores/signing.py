"""Signed URLs open one object, for one purpose, for a while."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

import pytest

from subgrpc.artifacts import ArtifactStore, SignedUrl
from subgrpc.testing.stores.suite import Sources, Suite, absent, content, put, same

HOUR = timedelta(hours=1)


def send(
    signed: SignedUrl, body: bytes | None = None, more: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Makes a signed request as a client without any SDK would; returns status and body."""
    headers = {**signed.headers, **(more or {})}
    assert signed.url.startswith("http"), "a signed URL is one of HTTP"
    request = urllib.request.Request(signed.url, body, headers, method=signed.method)  # noqa: S310
    # What comes from a loopback test server is not to go through a proxy of the environment.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ConnectionError):
            raise
        # Who is refused while he still sends may not get to read the answer.
        return 400, str(error.reason).encode()


class Signing(Suite):
    """URLs that clients use without credentials; skipped where a store has none."""

    def test_a_signed_get(self, store: ArtifactStore, sources: Sources) -> None:
        """It reads the object, whole or in part; the URL is not in what is logged."""
        source = sources(self.part_size + 1000)
        put(store, "signed", source)
        signed = self._get(store, "signed", HOUR)
        status, found = send(signed)
        assert status == 200, f"a signed GET was answered with {status}: {found[:500]!r}"
        same(found, source.data, "an object by its signed URL")
        status, found = send(signed, more={"Range": "bytes=100-199"})
        assert status == 206, f"a signed GET of a range was answered with {status}"
        same(found, source.data[100:200], "a range by a signed URL")
        assert signed.url not in repr(signed), "a signed URL is in its repr"

    def test_a_signed_get_opens_one_object(self, store: ArtifactStore, sources: Sources) -> None:
        """Not another, and it does not write or delete."""
        source = sources(1000)
        for key in ("signed-one", "signed-two"):
            put(store, key, source)
        signed = self._get(store, "signed-one", HOUR)
        other = SignedUrl("GET", signed.url.replace("-one", "-two"), signed.headers, signed.expiry)
        self._refused(send(other), "a URL signed for another object")
        for method in ("PUT", "DELETE"):
            wrong = SignedUrl(method, signed.url, signed.headers, signed.expiry)
            self._refused(send(wrong, b"x"), f"a {method} by a URL signed for GET")
        same(content(store, "signed-one"), source.data, "an object after what was not signed")

    def test_a_signed_put(self, store: ArtifactStore, sources: Sources) -> None:
        """It writes what was signed; the object is as one that was put."""
        for size in (0, 1000, self.part_size + 1):
            source, key = sources(size), f"signed/{size}"
            signed = self._put(store, key, source.size, source.sha256, HOUR)
            status, answer = send(signed, source.data)
            assert status in (200, 201, 204), f"a signed PUT was answered with {status}: {answer!r}"
            same(content(store, key), source.data, "what was put by a signed URL")
            found = store.stat(key)
            assert found is not None, "stat() knows nothing of what was put by a signed URL"
            assert found.size == size, f"stat() says {found} of what has {size} bytes"
            put(store, key, source)

    def test_a_signed_put_of_other_content(self, store: ArtifactStore, sources: Sources) -> None:
        """The store refuses it, whatever its size, and keeps nothing of it."""
        for size in (0, 1000, self.part_size + 1):
            source, key = sources(size), f"signed/{size}"
            signed = self._put(store, key, source.size, source.sha256, HOUR)
            for other in (sources(size), sources(size + 1), sources(0), sources(1)):
                if other.data != source.data:
                    self._refused(send(signed, other.data), "a signed PUT of other content")
                    absent(store, key, "whose content was not what was signed")
            bare = SignedUrl(signed.method, signed.url, {}, signed.expiry)
            if signed.headers:
                self._refused(send(bare, source.data), "a signed PUT without its headers")
                absent(store, key, "whose headers were not what was signed")

    def test_a_signed_put_overwrites_nothing(self, store: ArtifactStore, sources: Sources) -> None:
        """An object that is there already stays as it is, for other content and for the same."""
        source = sources(1000)
        signed = self._put(store, "signed", source.size, source.sha256, HOUR)
        send(signed, source.data)
        for late in (source.data, sources(1000).data, sources(1001).data):
            send(signed, late)
            same(content(store, "signed"), source.data, "an object after a second signed PUT")

    def test_signed_urls_expire(self, store: ArtifactStore, sources: Sources) -> None:
        """From then on they are refused, and they say when that is."""
        source = sources(1000)
        put(store, "signed", source)
        store.check()
        put_url = store.sign_put("other", source.size, source.sha256, self.shortly)
        get_url = self._get(store, "signed", self.shortly)
        assert get_url.expiry.tzinfo is not None, "an expiry without a time zone"
        distance = abs(get_url.expiry - datetime.now(timezone.utc))
        assert distance < timedelta(minutes=1), f"it says that it expires in {distance}"
        deadline = time.monotonic() + self.patience
        while send(get_url)[0] < 300:
            assert time.monotonic() < deadline, "a signed URL is valid long after it expired"
            time.sleep(self.shortly.total_seconds() / 5)
        if put_url is not None:
            self._refused(send(put_url, source.data), "a signed PUT after it expired")
            absent(store, "other", "which was put after the expiry")

    def _refused(self, answer: tuple[int, bytes], what: str) -> None:
        status = answer[0]
        assert 400 <= status < 500, f"{what} was answered with {status}: {answer[1][:500]!r}"

    def _get(self, store: ArtifactStore, key: str, expires: timedelta) -> SignedUrl:
        signed = store.sign_get(key, expires)
        if signed is None:
            pytest.skip("this store signs no URLs for reading")
        assert signed.method == "GET", f"a URL signed for reading is for {signed.method}"
        return signed

    def _put(
        self, store: ArtifactStore, key: str, size: int, sha256: bytes, expires: timedelta
    ) -> SignedUrl:
        store.check()
        signed = store.sign_put(key, size, sha256, expires)
        if signed is None:
            pytest.skip("this store signs no URLs for writing")
        assert signed.method == "PUT", f"a URL signed for writing is for {signed.method}"
        return signed
