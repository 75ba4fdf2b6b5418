"""How a store connects: over TLS, without cookies, with a connection for each thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from subgrpc.errors import SubgrpcError
from subgrpc.testing.stores.suite import Sources, content, put, same
from subgrpc_storage.hdfs import HdfsStore
from tests.integration.hdfs.cluster import Detour, Hdfs, settings

SIZE = (8 << 20) + 1
Make = Callable[..., HdfsStore]


@pytest.fixture
def make(hdfs: Hdfs, folder: str) -> Iterator[Make]:
    """Makes stores with options, at the port for TLS or at the other one."""
    made: list[HdfsStore] = []

    def make(port: str, **options: str) -> HdfsStore:
        address = urlsplit(os.environ[port]).netloc
        made.append(HdfsStore.from_settings(settings(address, folder, **options)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_tls(make: Make, sources: Sources) -> None:
    """With the certificates of the cluster objects go to NameNode and DataNode by TLS."""
    store = make("HDFS_WEBHDFS_TLS_URL", scheme="https", ca=os.environ["HDFS_CA"])
    source = sources(SIZE)
    store.check()
    put(store, "object", source)
    same(content(store, "object"), source.data, "what went by TLS")


@pytest.mark.parametrize(
    ("port", "options", "told"),
    [
        ("HDFS_WEBHDFS_TLS_URL", {"scheme": "https"}, "certificate"),
        ("HDFS_WEBHDFS_URL", {"scheme": "https"}, "scheme and ca"),
    ],
)
def test_tls_that_does_not_fit(make: Make, port: str, options: dict[str, str], told: str) -> None:
    """A certificate that nobody vouches for, or a port without TLS, is a matter of settings."""
    with pytest.raises(SubgrpcError, match="'warehouse'") as error:
        make(port, **options).check()
    assert error.value.reason == "STORE_MISCONFIGURED"
    assert told in error.value.message


def test_cookies(distant: HdfsStore, detour: Detour, sources: Sources) -> None:
    """None is ever sent: HDFS sets one, by which other services of its host would know us."""
    put(distant, "object", sources(1000))
    assert len(list(distant.list())) == 1
    assert len(detour.asked("CREATE")) == 1
    assert detour.cookies == []


def test_the_first_puts(make: Make, sources: Sources) -> None:
    """A new store is begun by many threads at the same time."""
    store = make("HDFS_WEBHDFS_URL")
    source = sources(1000)
    barrier = threading.Barrier(16)

    def begin(number: int) -> None:
        barrier.wait(20)
        put(store, f"first/{number}", source)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(begin, range(16)))
    assert len(list(store.list("first/"))) == 16


def test_many_threads(make: Make, sources: Sources) -> None:
    """Thirty transfers at the same time come through, of one store."""
    store = make("HDFS_WEBHDFS_URL", timeout="30")
    source = sources(SIZE)

    def both_ways(number: int) -> None:
        put(store, f"many/{number}", source)
        same(content(store, f"many/{number}"), source.data, "one of many objects")

    with ThreadPoolExecutor(30) as threads:
        list(threads.map(both_ways, range(60)))
    assert len(list(store.list("many/"))) == 60
