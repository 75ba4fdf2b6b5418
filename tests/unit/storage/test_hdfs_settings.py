"""What a store on HDFS can be made from, and what is refused before anything is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from subgrpc.artifacts import StoreSettings
from subgrpc.errors import InvalidArgument
from subgrpc.plugins import PluginManager, open_store
from subgrpc_storage.hdfs import HdfsStore
from subgrpc_storage.hdfs_settings import parse

URL = "hdfs://nn:9870/data/subgrpc"


def test_the_scheme_finds_the_store() -> None:
    """An hdfs URL is enough: the package's entry point brings the class."""
    store = open_store(StoreSettings("warehouse", URL, {"user": "ml"}), PluginManager())
    assert type(store) is HdfsStore
    assert store.name == "warehouse"
    store.close()


def test_several_namenodes() -> None:
    """Those of a cluster with high availability stand in the URL, separated by commas."""
    url = "hdfs://nn1.example.org:9870,[::1]:9871/data/"
    found = parse(StoreSettings("warehouse", url, {"user": "ml", "scheme": "https"}))
    assert found.namenodes == ("https://nn1.example.org:9870", "https://[::1]:9871")
    assert found.addresses == "nn1.example.org:9870, [::1]:9871"
    assert found.folder == "/data"


def test_options(tmp_path: Path) -> None:
    """Each has a default, and is taken as given."""
    found = parse(StoreSettings("warehouse", URL))
    assert (found.connect_timeout, found.timeout, found.ca) == (10.0, 60.0, "")
    assert found.namenodes == ("http://nn:9870",)
    assert found.user
    ca = tmp_path / "ca.pem"
    ca.touch()
    options = {
        "scheme": "https", "user": "ml", "connect_timeout": "1.5", "timeout": "20", "ca": str(ca),
    }  # fmt: skip
    found = parse(StoreSettings("warehouse", URL, options))
    assert (found.connect_timeout, found.timeout) == (1.5, 20.0)
    assert (found.user, found.ca) == ("ml", str(ca))


@pytest.mark.parametrize(
    "url",
    [
        "hdfs://nn/data",  # no port: nobody knows whether 9870 or 50070 is meant
        "hdfs://nn:9870",
        "hdfs://nn:9870/",
        "hdfs:///data",
        "hdfs://nn:0/data",
        "hdfs://nn:99999/data",
        "hdfs://nn:x/data",
        "hdfs://nn:9870,/data",
        "hdfs://nn:9870/data?user=x",
        "hdfs://nn:9870/data#LATEST",
        "hdfs://nn:9870/data%23LATEST",
        "hdfs://nn:9870/a/../b",
        "hdfs://nn:9870/a//b",
        "hdfs://nn:9870/a%2f%2e%2e",
        "hdfs://nn:9870/a%00",
        "hdfs://ml:hush@nn:9870/data",
        "webhdfs://nn:9870/data",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    """They are refused with the store's name and how a URL looks; a password is not repeated."""
    with pytest.raises(InvalidArgument) as error:
        parse(StoreSettings("warehouse", url, {"user": "ml"}))
    assert error.value.reason == "STORE_INVALID"
    assert "'warehouse'" in error.value.message
    assert "hdfs://NAMENODE:9870/FOLDER" in error.value.message
    assert "hush" not in error.value.message


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", "0"),
        ("timeout", "-1"),
        ("timeout", "nan"),
        ("timeout", "inf"),
        ("timeout", "1m"),
        ("connect_timeout", "86400"),
        ("scheme", "ftp"),
        ("ca", "/etc/hosts"),
        ("user", ""),
        ("user", "a&op=DELETE"),
        ("kerberos", "true"),
    ],
)
def test_options_that_are_none(option: str, value: str) -> None:
    """They are refused, and the option is named."""
    with pytest.raises(InvalidArgument, match=option) as error:
        parse(StoreSettings("warehouse", URL, {option: value}))
    assert error.value.reason == "STORE_INVALID"
    assert "'warehouse'" in error.value.message


def test_certificates_that_are_not_there() -> None:
    """A wrong path is noticed when the store is made, not at the first transfer."""
    options = {"scheme": "https", "ca": "/no/such/file"}
    with pytest.raises(InvalidArgument, match="/no/such/file"):
        parse(StoreSettings("warehouse", URL, options))
