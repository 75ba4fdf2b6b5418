"""Credentials, permissions, and servers that do not do all that S3 does."""

from __future__ import annotations

import http.client
import json
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from subgrpc.artifacts import ArtifactStore, StoreSettings
from subgrpc.errors import AlreadyExists, FailedPrecondition
from subgrpc.plugins import PluginManager, open_store
from subgrpc.testing.stores.suite import Sources, content, put, same
from tests.integration.s3.lenient import lenient
from tests.integration.s3.servers import Bucket, Users, server
from tests.rpc.conftest import make_authority, make_certificate


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path)


def store_of(settings: StoreSettings) -> ArtifactStore:
    return open_store(settings, PluginManager())


@pytest.mark.parametrize(
    ("access", "secret", "advice"),
    [
        ("nobody-at-all", "whatever", "AWS_ACCESS_KEY_ID"),
        ("testbed", "hush-hush", "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_wrong_credentials(
    bucket: Bucket, prefix: str, users: Users, access: str, secret: str, advice: str
) -> None:
    """The error names the store, and which part of them is wrong."""
    users.profile("wrong", access, secret)
    store = store_of(bucket.settings(prefix, profile="wrong"))
    for call in (store.check, lambda: list(store.list()), lambda: content(store, "x")):
        with pytest.raises(FailedPrecondition, match=f"'lake'.*{advice}") as refused:
            call()
        assert refused.value.reason == "STORE_ACCESS_DENIED"
        assert secret not in refused.value.message


def test_no_credentials(bucket: Bucket, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says where they are looked for."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(FailedPrecondition, match=r"'lake'.*AWS_ACCESS_KEY_ID") as refused:
        store_of(bucket.settings(prefix)).check()
    assert refused.value.reason == "STORE_ACCESS_DENIED"


def test_who_may_only_read(bucket: Bucket, prefix: str, users: Users, sources: Sources) -> None:
    """Reads work; writes say what is missing, and change nothing."""
    reader, source = users.add(), sources(1000)
    put(store_of(bucket.settings(prefix)), "object", source)
    store = store_of(bucket.settings(prefix, profile=reader))
    with pytest.raises(FailedPrecondition):
        content(store, "object")
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": [reader]},
                "Action": ["s3:GetObject", "s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{bucket.name}", f"arn:aws:s3:::{bucket.name}/*"],
            }
        ],
    }
    bucket.client.put_bucket_policy(Bucket=bucket.name, Policy=json.dumps(policy))
    try:
        same(content(store, "object"), source.data, "an object for a reader")
        assert [each.key for each in store.list()] == ["object"]
        for call in (
            store.check,
            lambda: store.delete("object"),
            lambda: put(store, "other", sources(1000)),
            lambda: put(store, "large", sources(8 << 20)),
            lambda: put(store, "big", sources(20 << 20)),
            lambda: store.abandoned(timedelta()),
        ):
            with pytest.raises(FailedPrecondition, match=r"'lake'.*write") as refused:
                call()
            assert refused.value.reason == "STORE_ACCESS_DENIED"
    finally:
        bucket.client.delete_bucket_policy(Bucket=bucket.name)
    assert len(content(store_of(bucket.settings(prefix)), "object")) == 1000


def test_what_others_put_there(bucket: Bucket, prefix: str, sources: Sources) -> None:
    """It is not listed, so that nobody sweeps it; prefixes that only begin alike are others."""
    store, source = store_of(bucket.settings(prefix)), sources(10)
    put(store, "object", source)
    put(store_of(bucket.settings(f"{prefix}2")), "object", source)
    for key in ("Notes.txt", ".hidden", "folder/My File"):
        bucket.client.put_object(Bucket=bucket.name, Key=f"{prefix}/{key}", Body=b"")
    assert [each.key for each in store.list()] == ["object"]


def test_a_bucket_without_a_prefix(bucket: Bucket, sources: Sources) -> None:
    """The store may have a bucket of its own."""
    name = bucket.prefix().replace("/", "-")
    bucket.client.create_bucket(Bucket=name)
    own, source = Bucket(bucket.url, name), sources(10)
    store = store_of(own.settings(""))
    store.check()
    put(store, "objects/ab/object", source)
    assert [each.key for each in store.list("objects/")] == ["objects/ab/object"]
    same(content(store, "objects/ab/object"), source.data, "an object without a prefix")
    own.clear("")
    bucket.client.delete_bucket(Bucket=name)


def test_tls(
    bucket: Bucket, sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server is known by its certificate; else the error says how to make it known."""
    make_authority(tmp_path, "ca")
    make_certificate(tmp_path, "s3", "ca", "/CN=s3", "IP:127.0.0.1")
    (tmp_path / "data" / bucket.name).mkdir(parents=True)
    ca, files = str(tmp_path / "ca.crt"), ("--cert", "s3.crt", "--key", "s3.key")
    words = [str(tmp_path / each) if "." in each else each for each in files]
    with server(tmp_path / "data", tmp_path / "log", *words, scheme="https", ca=ca) as url:
        settings = bucket.settings("prefix", url)
        with pytest.raises(FailedPrecondition, match=r"'lake'.*AWS_CA_BUNDLE") as refused:
            store_of(settings).check()
        assert refused.value.reason == "STORE_MISCONFIGURED"
        monkeypatch.setenv("AWS_CA_BUNDLE", ca)
        store = store_of(settings)
        store.check()
        for size in (1000, 20 << 20):
            source = sources(size)
            put(store, f"object/{size}", source)
            same(content(store, f"object/{size}"), source.data, "an object over TLS")
        signed = store.sign_put("signed", 1000, source.sha256, timedelta(hours=1))
        assert signed is not None
        assert signed.url.startswith("https://")


def test_a_bucket_in_the_name_of_its_host(bucket: Bucket, sources: Sources, tmp_path: Path) -> None:
    """Virtual-host style, as AWS wants it: the server takes what is signed so.

    Names below localhost are not known everywhere, so the request is sent to where they would be.
    """
    (tmp_path / "data" / bucket.name).mkdir(parents=True)
    with server(tmp_path / "data", tmp_path / "log", "--virtual-domain", "localhost") as url:
        source = sources(1000)
        put(store_of(bucket.settings("prefix", url)), "object", source)
        place = url.replace("127.0.0.1", "localhost")
        store = store_of(bucket.settings("prefix", place, addressing="virtual"))
        signed = store.sign_get("object", timedelta(hours=1))
        assert signed is not None
        parts = urlsplit(signed.url)
        assert (parts.hostname, parts.path) == (f"{bucket.name}.localhost", "/prefix/object")
        connection = http.client.HTTPConnection("127.0.0.1", parts.port or 0, timeout=20)
        connection.request("GET", f"{parts.path}?{parts.query}", headers={"Host": parts.netloc})
        with connection.getresponse() as answer:
            same(answer.read(), source.data, f"an object by its host ({answer.status})")
        connection.close()


def test_a_server_that_does_not_know_conditions(
    bucket: Bucket, prefix: str, sources: Sources
) -> None:
    """It is found out: nothing is overwritten all the same, and no PUT is signed."""
    with lenient(bucket) as url:
        store, source = store_of(bucket.settings(prefix, url)), sources(1000)
        store.check()
        put(store, "object", source)
        put(store, "object", source)
        with pytest.raises(AlreadyExists, match="'lake'"):
            put(store, "object", sources(1001))
        same(content(store, "object"), source.data, "an object that was not to be replaced")
        assert store.sign_put("other", 1000, source.sha256, timedelta(hours=1)) is None
    assert [each.key for each in store_of(bucket.settings(prefix)).list()] == ["object"]
