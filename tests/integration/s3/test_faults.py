"""The store on S3 behind a network on which things go wrong, and a server that dies."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from subgrpc.artifacts import ArtifactStore
from subgrpc.errors import DataLoss, Unavailable
from subgrpc.plugins import PluginManager, open_store
from subgrpc.testing.stores.suite import Begun, Source, Sources, content, put, same
from tests.integration.postgres.conftest import free_port
from tests.integration.s3.servers import Bucket, Detour, server

pytestmark = pytest.mark.timeout(300)
BIG = (40 << 20) + 1
QUICK = {"connect_timeout": "1", "timeout": "1"}


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path)


@pytest.fixture
def store(bucket: Bucket, detour: Detour, prefix: str) -> Iterator[ArtifactStore]:
    """A store at the end of the detour, which does not wait for long."""
    made = open_store(bucket.settings(prefix, detour.url, **QUICK), PluginManager())
    yield made
    made.close()


def given_up(store: ArtifactStore, key: str, source: Source) -> bool:
    """Puts; whether it was given up as unreachable."""
    try:
        put(store, key, source)
    except Unavailable as error:
        return error.reason == "STORE_UNAVAILABLE" and "'lake'" in error.message
    return False


def test_reads_go_on_where_they_broke(
    store: ArtifactStore, detour: Detour, sources: Sources
) -> None:
    """Each connection breaks after three megabytes, and all of the object comes."""
    source = sources(BIG)
    put(store, "big", source)
    with detour.poisoned("limit_data", "downstream", bytes=3_000_000):
        same(content(store, "big"), source.data, "an object over connections that break")
        same(content(store, "big", 12345), source.data[12345:], "its rest")


def test_an_object_that_is_another_when_the_read_goes_on(
    store: ArtifactStore, detour: Detour, bucket: Bucket, prefix: str, sources: Sources
) -> None:
    """Halves of two contents are never put together."""
    put(store, "big", sources(BIG))
    with detour.poisoned("limit_data", "downstream", bytes=3_000_000):
        reader = store.get("big")
        next(reader)
        bucket.client.put_object(
            Bucket=bucket.name, Key=f"{prefix}/big", Body=sources(BIG).path.read_bytes()
        )
        with pytest.raises(DataLoss, match=r"'lake'.*changed while it was read"):
            list(reader)


def test_parts_that_are_cut_off(store: ArtifactStore, detour: Detour, sources: Sources) -> None:
    """Each connection breaks in its second part; they are sent again, and all is there."""
    source = sources(BIG)
    with detour.poisoned("limit_data", "upstream", bytes=12_000_000):
        put(store, "big", source)
        same(content(store, "big"), source.data, "an object whose parts were cut off")


def test_connections_that_are_reset(
    store: ArtifactStore, detour: Detour, bucket: Bucket, prefix: str, sources: Sources
) -> None:
    """A put that never comes through is given up; later it is done, and nothing is left."""
    source = sources(BIG)
    with detour.poisoned("reset_peer", "upstream", timeout=5):
        assert given_up(store, "big", source)
    assert store.stat("big") is None
    put(store, "big", source)
    same(content(store, "big"), source.data, "an object put again after resets")
    store.abandoned(timedelta())
    assert bucket.uploads(prefix) == []


def test_a_slow_network(store: ArtifactStore, detour: Detour, sources: Sources) -> None:
    """Latency, and packets of a few bytes, make it slow and nothing else."""
    source = sources(BIG)
    with detour.poisoned("latency", "downstream", latency=100, jitter=80):
        put(store, "big", source)
        same(content(store, "big"), source.data, "an object from far away")
    small = sources(300_000)
    for stream in ("upstream", "downstream"):
        with detour.poisoned("slicer", stream, average_size=700, size_variation=600, delay=10):
            put(store, f"small-{stream}", small)
            same(content(store, f"small-{stream}"), small.data, "an object in tiny packets")


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_a_black_hole(
    store: ArtifactStore, detour: Detour, bucket: Bucket, prefix: str, sources: Sources, stream: str
) -> None:
    """A put of which nobody hears ends in time; what it began is removed, and it is done later."""
    source, small = sources(BIG), sources(1000)
    put(store, "small", small)
    begun = Begun(lambda: given_up(store, "big", source))
    time.sleep(0.05)
    with detour.poisoned("timeout", stream, timeout=0):
        assert begun.result(60, "put() in a black hole") in (True, False)
        for call in (
            lambda: store.stat("small"),
            lambda: content(store, "small"),
            lambda: list(store.list()),
            lambda: store.delete("small"),
            lambda: store.abandoned(timedelta()),
            store.check,
        ):
            with pytest.raises(Unavailable, match="'lake'"):
                call()
    put(store, "big", source)
    same(content(store, "big"), source.data, "an object put again after a black hole")
    store.abandoned(timedelta())
    assert bucket.uploads(prefix) == []


@pytest.mark.parametrize("size", [1000, BIG])
@pytest.mark.parametrize("limit", [10, 60, 150, 250, 330, 340, 350, 400, 500])
def test_answers_that_are_lost(
    store: ArtifactStore, detour: Detour, sources: Sources, size: int, limit: int
) -> None:
    """What an answer of which half is missing may be, it is no answer.

    Whoever does not know whether a put was done puts again: that is success.
    """
    source, kept = sources(size), sources(10)
    put(store, "kept", kept)
    with detour.poisoned("limit_data", "downstream", bytes=limit):
        given_up(store, "object", source)
        with pytest.raises(Unavailable, match="'lake'"):
            list(store.list())
        with contextlib.suppress(Unavailable):
            same(content(store, "kept"), kept.data, "an object over a bad network")
        with contextlib.suppress(Unavailable):
            assert store.stat("kept")
    put(store, "object", source)
    same(content(store, "object"), source.data, "an object put again after a lost answer")


def test_a_server_that_is_killed(bucket: Bucket, sources: Sources, tmp_path: Path) -> None:
    """What it acknowledged is there when it is back; what it did not can be put again."""
    data, log, port = tmp_path / "data", tmp_path / "log", free_port()
    (data / bucket.name).mkdir(parents=True)
    source, settings = sources(BIG), None
    with server(data, log, port=port) as url:
        settings = Bucket(url, bucket.name).settings("prefix", **QUICK)
        store = open_store(settings, PluginManager())
        put(store, "kept", source)
        begun = Begun(lambda: given_up(store, "killed", source))
        time.sleep(0.15)
    refused = begun.result(60, "put() when the server is killed")
    with pytest.raises(Unavailable, match="'lake'"):
        content(store, "kept")
    with server(data, log, port=port):
        same(content(store, "kept"), source.data, "what a killed server has acknowledged")
        assert refused or store.stat("killed")
        put(store, "killed", source)
        same(content(store, "killed"), source.data, "what was put again")
        store.abandoned(timedelta())
        assert Bucket(url, bucket.name).uploads("prefix") == []
    store.close()
