"""HDFS itself in trouble: daemons that die, safe mode, no room, folders that are taken away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from subgrpc.errors import FailedPrecondition, ResourceExhausted, SubgrpcError, Unavailable
from subgrpc.testing.stores.suite import Source, Sources, absent, calls_of, content, put, same
from subgrpc_storage.hdfs import HdfsStore
from tests.integration.hdfs.cluster import USER, Detour, Hdfs

pytestmark = pytest.mark.timeout(200)
SIZE = (64 << 20) + 1
FULL = "STORE_FULL"


@pytest.fixture
def source(sources: Sources) -> Source:
    return sources(SIZE)


def refused(call: Callable[[], object], kind: type[SubgrpcError], reason: str) -> str:
    with pytest.raises(kind) as error:
        call()
    assert error.value.reason == reason
    assert "'warehouse'" in error.value.message
    return error.value.message


def unavailable(call: Callable[[], object]) -> str:
    return refused(call, Unavailable, "STORE_UNAVAILABLE")


def incoming(hdfs: Hdfs, folder: str) -> list[str]:
    return hdfs.names(f"{folder}/.incoming")


def test_a_namenode_that_is_killed(hdfs: Hdfs, direct: HdfsStore, sources: Sources) -> None:
    """Nobody knows then what there is; once it is back, everything is as it was."""
    kept = sources(1000)
    put(direct, "kept", kept)
    with hdfs.broken("nn-down", "nn-up"):
        for name, call in calls_of(direct, "kept", sources(1000)).items():
            assert f"NameNode {hdfs.namenode}" in unavailable(call), name
    same(content(direct, "kept"), kept.data, "an object after the NameNode's death")
    direct.check()


def test_a_namenode_that_is_killed_during_a_put(
    hdfs: Hdfs, folder: str, distant: HdfsStore, detour: Detour, source: Source
) -> None:
    """The object is not there, and can be put once the NameNode is back."""
    distant.check()
    detour.slow()
    with hdfs.broken("safe-mode off", "nn-up"), ThreadPoolExecutor(1) as threads:
        future = threads.submit(put, distant, "object", source)
        until(lambda: bool(incoming(hdfs, folder)))
        hdfs.fault("nn-down")
        unavailable(future.result)
    detour.heal()
    absent(distant, "object", "whose NameNode died")
    put(distant, "object", source)
    same(content(distant, "object"), source.data, "what was put again")


def test_a_datanode_that_is_killed_during_a_put(
    hdfs: Hdfs, folder: str, distant: HdfsStore, detour: Detour, source: Source
) -> None:
    """Nothing of it is left to be seen, not even in the folder of what is being put."""
    distant.check()
    detour.slow()
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(put, distant, "object", source)
        until(lambda: bool(incoming(hdfs, folder)))
        with hdfs.broken("dn-down", "dn-up"):
            assert "DataNode" in unavailable(future.result)
            absent(distant, "object", "whose DataNode died")
            assert not incoming(hdfs, folder)
    detour.heal()
    put(distant, "object", source)
    same(content(distant, "object"), source.data, "what was put again")


def test_a_datanode_that_is_killed_during_a_get(
    hdfs: Hdfs, distant: HdfsStore, detour: Detour, source: Source
) -> None:
    """What has come is right, then comes an error; one goes on where it broke."""
    put(distant, "object", source)
    detour.slow()
    reader = distant.get("object")
    found = [next(reader)]
    with hdfs.broken("dn-down", "dn-up"):
        assert "DataNode" in unavailable(lambda: found.extend(reader))
    detour.heal()
    begun = sum(map(len, found))
    assert 0 < begun < SIZE
    same(b"".join(found) + content(distant, "object", begun), source.data, "an object in two parts")


def test_safe_mode(hdfs: Hdfs, direct: HdfsStore, sources: Sources) -> None:
    """What is there can be read; writing has to wait, and the message says what for."""
    kept, fresh = sources(1000), sources(1000)
    put(direct, "kept", kept)
    with hdfs.broken("safe-mode on", "safe-mode off"):
        same(content(direct, "kept"), kept.data, "an object in safe mode")
        assert [each.key for each in direct.list()] == ["kept"]
        for call in (lambda: put(direct, "new", fresh), lambda: direct.delete("kept")):
            assert "safe mode" in unavailable(call)
        absent(direct, "new", "which could not be written")
    put(direct, "new", fresh)
    direct.delete("kept")
    assert [each.key for each in direct.list()] == ["new"]


def test_a_quota_of_files(hdfs: Hdfs, folder: str, direct: HdfsStore, sources: Sources) -> None:
    """It is full, whatever the size; what is there can be read and deleted."""
    kept, fresh = sources(1000), sources(SIZE)
    put(direct, "kept", kept)
    hdfs.quota(folder, files=3)  # the folder, .incoming, kept
    for _ in range(5):
        assert "quota" in refused(lambda: put(direct, "new", fresh), ResourceExhausted, FULL)
    same(content(direct, "kept"), kept.data, "an object in a full store")
    direct.delete("kept")
    put(direct, "new", fresh)
    same(content(direct, "new"), fresh.data, "what had room again")


def test_a_quota_of_space(hdfs: Hdfs, folder: str, direct: HdfsStore, sources: Sources) -> None:
    """It is told from an outage, however much was sent already when the block was refused."""
    fresh = sources(SIZE)
    direct.check()
    hdfs.quota(folder, space=64 << 20)
    for _ in range(10):
        assert "quota" in refused(lambda: put(direct, "new", fresh), ResourceExhausted, FULL)
    absent(direct, "new", "which had no room")
    assert not incoming(hdfs, folder)
    hdfs.quota(folder, space=66 << 20)
    put(direct, "new", fresh)


def test_a_full_datanode(hdfs: Hdfs, direct: HdfsStore, sources: Sources) -> None:
    """Where no DataNode has room the store is full, not away."""
    kept, fresh = sources(1000), sources(1 << 20)
    put(direct, "kept", kept)
    with hdfs.broken("dn-full", "dn-down", "dn-up"):
        text = refused(lambda: put(direct, "new", fresh), ResourceExhausted, FULL)
        assert "0 bytes left" in text
        absent(direct, "new", "which had no room")
        same(content(direct, "kept"), kept.data, "an object in a full store")
    put(direct, "new", fresh)


def test_a_folder_that_is_taken_away(
    hdfs: Hdfs, folder: str, direct: HdfsStore, sources: Sources
) -> None:
    """Its objects are not said to be lost, nor is another store begun in its place."""
    kept = sources(1000)
    put(direct, "kept", kept)
    hdfs.call("PUT", folder, "RENAME", destination=f"{folder}.moved")
    try:
        for again in (False, True):
            if again:
                hdfs.call("PUT", folder, "MKDIRS")
                hdfs.call("PUT", folder, "SETOWNER", owner=USER)
            for name, call in calls_of(direct, "kept", sources(SIZE)).items():
                text = refused(call, FailedPrecondition, "STORE_MISCONFIGURED")
                assert folder in text, name
        assert hdfs.names(folder) == []
    finally:
        hdfs.remove(folder)
        hdfs.call("PUT", f"{folder}.moved", "RENAME", destination=folder)
    same(content(direct, "kept"), kept.data, "an object whose folder is back")


def test_a_block_that_is_damaged(hdfs: Hdfs, direct: HdfsStore, sources: Sources) -> None:
    """Wrong bytes never come out: HDFS checks, and its complaint is an error."""
    source = sources(b"needle" + os.urandom(1 << 20))
    put(direct, "object", source)
    data = Path(os.environ["YARN_TESTBED_LOGS"]).parent / "state/data"
    blocks = [each for each in data.rglob("blk_*") if each.suffix != ".meta"]
    (block,) = [each for each in blocks if each.read_bytes()[:6] == b"needle"]
    block.write_bytes(b"noodle" + source.data[6:])
    text = unavailable(lambda: content(direct, "object"))
    assert "DataNode" in text
    assert "hdfs fsck" in text


def until(condition: Callable[[], bool]) -> None:
    """Waits for something that happens soon."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
