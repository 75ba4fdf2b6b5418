"""What a store on S3 is configured with, and what is refused before anything is sent."""

from __future__ import annotations

import subprocess
import sys

import pytest

from subgrpc.artifacts import StoreSettings
from subgrpc.errors import InvalidArgument
from subgrpc.plugins import PluginManager, open_store
from subgrpc_storage.s3_settings import S3Settings, client_of


def read(url: str, **options: str) -> S3Settings:
    return S3Settings.of(StoreSettings("lake", url, options))


def test_the_store_is_a_plugin() -> None:
    """It is found by its scheme, and only then is the SDK imported."""
    settings = StoreSettings("lake", "s3://bucket/prefix", {"region": "eu-central-1"})
    store = open_store(settings, PluginManager())
    assert (store.name, store.scheme) == ("lake", "s3")
    store.close()
    code = (
        "import sys; from subgrpc.plugins import PluginManager\n"
        "assert 's3' in PluginManager().installed(); PluginManager().store('file')\n"
        "assert not {'boto3', 'botocore', 'hdfs'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://my.bucket-1/a/b_c.d/", "my.bucket-1", "a/b_c.d/"),
    ],
)
def test_buckets_and_prefixes(url: str, bucket: str, prefix: str) -> None:
    """A prefix is a folder, however it is written."""
    found = read(url)
    assert (found.bucket, found.prefix) == (bucket, prefix)


@pytest.mark.parametrize(
    "url",
    [
        "s3://", "s3:bucket", "s3://UPPER/x", "s3://b", "s3://key:hush@bucket/x", "s3://bucket:80/x",
        "s3://bucket/../x", "s3://bucket/a//b", "s3://bucket/x?y", "s3://bucket/x#y",
        "s3://bucket/a b", "s3://bucket/.hidden", "http://bucket/x",
    ],
)  # fmt: skip
def test_urls_that_name_no_bucket(url: str) -> None:
    """They are refused, and not repeated: there may be a password in them."""
    with pytest.raises(InvalidArgument, match=r"'lake'.*s3://BUCKET/PREFIX") as refused:
        read(url)
    assert refused.value.reason == "STORE_INVALID"
    assert "hush" not in refused.value.message


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("endpoint_url", "ftp://host"),
        ("endpoint_url", "host:9000"),
        ("endpoint_url", "https://key:hush@host"),
        ("endpoint_url", "https://host/path"),
        ("endpoint_url", ""),
        ("addressing", "upside-down"),
        ("timeout", "long"),
        ("timeout", "0"),
        ("timeout", "nan"),
        ("connect_timeout", "-1"),
        ("secret_key", "hush"),
    ],
)
def test_options_that_are_wrong(option: str, value: str) -> None:
    """Each is named, and what it may be."""
    with pytest.raises(InvalidArgument, match=option) as refused:
        read("s3://bucket", **{option: value})
    assert refused.value.reason == "STORE_INVALID"
    assert "hush" not in refused.value.message


def test_a_profile_that_is_not_there() -> None:
    """What AWS's own configuration lacks is told with the store's name."""
    with pytest.raises(InvalidArgument, match=r"'lake'.*no-such-profile"):
        client_of(read("s3://bucket", profile="no-such-profile"))


def test_how_requests_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded in time and tries; the bucket in path or name, as configured."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    for addressing, start in (
        ("path", "http://localhost:9/bucket/key?"),
        ("virtual", "http://bucket.localhost:9/key?"),
    ):
        options = {"endpoint_url": "http://localhost:9", "region": "x", "addressing": addressing}
        client = client_of(read("s3://bucket", timeout="7", **options))
        url = client.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "key"})
        assert url.startswith(start)
        assert (client.meta.config.connect_timeout, client.meta.config.read_timeout) == (5, 7)
        client.close()
