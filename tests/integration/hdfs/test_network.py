"""A bad network between the server and HDFS: what comes through is whole, the rest is said."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from subgrpc.errors import NotFound, Unavailable
from subgrpc.testing.stores.suite import Source, Sources, absent, calls_of, content, put, same
from subgrpc_storage.hdfs import HdfsStore
from tests.integration.hdfs.cluster import Detour, Hdfs, settings

pytestmark = pytest.mark.timeout(150)
SIZE = (64 << 20) + 1
CUT = 10_000_000
"""Bytes after which a connection is cut: about one in seven of an object."""
PATIENCE = 30.0
"""Seconds: with these settings no call takes half as long."""


@pytest.fixture
def source(sources: Sources) -> Source:
    return sources(SIZE)


def unavailable(call: Callable[[], object]) -> str:
    """The message of a call that has to say, in time, that the store cannot be reached."""
    start = time.monotonic()
    with pytest.raises(Unavailable) as error:
        call()
    assert time.monotonic() - start < PATIENCE
    assert error.value.reason == "STORE_UNAVAILABLE"
    assert "'warehouse'" in error.value.message
    return error.value.message


def test_a_put_that_is_cut(
    distant: HdfsStore, detour: Detour, hdfs: Hdfs, folder: str, source: Source
) -> None:
    """A connection that breaks while an object is sent leaves nothing; it can be put again."""
    detour.datanode.poison("limit_data", "upstream", bytes=CUT)
    text = unavailable(lambda: put(distant, "object", source))
    assert f"DataNode {detour.datanode.address}" in text
    assert len(detour.asked("CREATE")) == 4
    detour.heal()
    absent(distant, "object", "whose connection was cut")
    assert not hdfs.names(f"{folder}/.incoming")
    put(distant, "object", source)
    same(content(distant, "object"), source.data, "what was put again")


def test_a_put_that_is_cut_once(distant: HdfsStore, detour: Detour, source: Source) -> None:
    """Nobody has to know: it is sent again."""
    detour.datanode.poison("limit_data", "upstream", bytes=CUT)

    def heal() -> None:
        while len(detour.asked("CREATE")) < 2:
            time.sleep(0.01)
        detour.datanode.heal()

    healer = threading.Thread(target=heal, daemon=True)
    healer.start()
    put(distant, "object", source)
    healer.join(20)
    same(content(distant, "object"), source.data, "what was sent twice")


def test_a_get_that_is_cut(distant: HdfsStore, detour: Detour, source: Source) -> None:
    """It is taken up where it broke, again and again, as long as something comes in between."""
    put(distant, "object", source)
    detour.datanode.poison("limit_data", bytes=CUT)
    same(content(distant, "object"), source.data, "what came in seven parts")
    offsets = [int(each["offset"]) for each in detour.asked("OPEN")]
    assert len(offsets) > SIZE // CUT
    assert offsets == sorted(set(offsets)), "a part was asked for again"


def test_resets_during_a_get(distant: HdfsStore, detour: Detour, source: Source) -> None:
    """Nor does it matter when connections break."""
    put(distant, "object", source)
    detour.datanode.poison("bandwidth", rate=20_000)

    def reset() -> None:
        for number in range(1, 6):
            while len(detour.asked("OPEN")) < number:
                time.sleep(0.01)
            time.sleep(0.2)
            detour.datanode.enable(False)
            detour.datanode.enable(True)

    resetter = threading.Thread(target=reset, daemon=True)
    resetter.start()
    same(content(distant, "object"), source.data, "what came through resets")
    resetter.join(20)
    assert len(detour.asked("OPEN")) > 5


def test_a_get_that_never_comes(distant: HdfsStore, detour: Detour, source: Source) -> None:
    """Connections that bring nothing are given up after some; nothing was lost."""
    put(distant, "object", source)
    detour.datanode.poison("limit_data", bytes=0)
    unavailable(lambda: content(distant, "object"))
    detour.heal()
    same(content(distant, "object"), source.data, "what came later")


def test_latency(distant: HdfsStore, detour: Detour, source: Source) -> None:
    """It takes longer, and that is all."""
    for way in detour.ways:
        for stream in ("upstream", "downstream"):
            way.poison("latency", stream, latency=100, jitter=50)
    put(distant, "object", source)
    same(content(distant, "object"), source.data, "what went a long way")


def test_silence(distant: HdfsStore, detour: Detour, source: Source) -> None:
    """Where nothing comes through and nobody is told, every call ends in time."""
    put(distant, "object", source)
    detour.swallow()
    for name, call in calls_of(distant, "object", source).items():
        text = unavailable(call)
        assert "NameNode" in text, name
    detour.heal()
    same(content(distant, "object"), source.data, "an object after silence")


def test_a_datanode_that_falls_silent(distant: HdfsStore, detour: Detour, source: Source) -> None:
    """In the middle of an object: it is noticed, and what had come is not sent again."""
    put(distant, "object", source)
    reader = distant.get("object")
    found = [next(reader)]
    detour.datanode.swallow()

    def rest() -> None:
        found.extend(reader)

    text = unavailable(rest)
    assert f"DataNode {detour.datanode.address}" in text
    unavailable(lambda: put(distant, "other", source))
    detour.heal()
    absent(distant, "other", "which a silent DataNode had")
    begun = sum(map(len, found))
    assert begun < SIZE
    same(b"".join(found) + content(distant, "object", begun), source.data, "an object in two parts")
    put(distant, "other", source)


def test_an_answer_that_is_lost(distant: HdfsStore, detour: Detour, source: Source) -> None:
    """A rename of which nobody heard is found done, not done again or taken for a failure."""
    put(distant, "first", source)  # now the folder is there, and known
    lost = threading.Event()

    def lose() -> None:
        """Lets the request for the rename pass, and then nothing any more."""
        while not detour.asked("CREATE")[1:]:
            time.sleep(0.001)
        detour.namenode.poison("latency", latency=3000)
        while not detour.asked("RENAME")[1:]:
            time.sleep(0.001)
        detour.namenode.enable(False)
        detour.heal()
        lost.set()

    loser = threading.Thread(target=lose, daemon=True)
    loser.start()
    put(distant, "second", source)
    loser.join(20)
    assert lost.is_set()
    assert len(detour.asked("RENAME")) == 3
    same(content(distant, "second"), source.data, "an object whose rename was not answered")
    assert sorted(each.key for each in distant.list()) == ["first", "second"]


def test_a_namenode_that_is_away(hdfs: Hdfs, detour: Detour, folder: str, source: Source) -> None:
    """With several NameNodes the next one is asked: one that refuses, one that is silent."""
    both = f"{detour.address},{hdfs.namenode}"
    for trouble in (lambda: detour.enable(False), detour.swallow):
        store = HdfsStore.from_settings(settings(both, folder))
        trouble()
        put(store, "object", source)
        same(content(store, "object"), source.data, "an object by the second NameNode")
        with pytest.raises(NotFound):
            content(store, "missing")
        store.delete("object")
        store.close()
        detour.heal()
