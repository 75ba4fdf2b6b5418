"""Transfers that are broken off, by the network or on purpose, and go on."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from subgrpc.client import AsyncClient, Client, Progress
from subgrpc.client.threads import do_work
from subgrpc.client.transfer import manifest
from subgrpc.client.transfer.pull import Pull
from subgrpc.client.transfer.push import Push
from subgrpc.client.transfer.results import PullOptions, PushOptions
from subgrpc.errors import AlreadyExists
from subgrpc.v1.artifact_service_pb2 import Artifact, ArtifactFile, ArtifactState
from tests.rpc.transfers.cutter import TO_CLIENT, TO_SERVER, Cutter
from tests.rpc.transfers.test_round_trip import bytes_of, tree

MIB = 1 << 20
Lay = Callable[..., Cutter]
IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
SIZE, CUTS = (1024 * MIB, 100) if IS_LONG else (64 * MIB, 25)
"""A quick run moves less, through more disconnects for each byte."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large file, and many small ones."""
    root = tmp_path_factory.mktemp("large")
    numbers = random.Random(SIZE)
    with open(root / "large", "wb") as file:
        for _ in range(SIZE // MIB - 8):
            file.write(numbers.randbytes(MIB))
    for number in range(800):
        (root / f"{number}").write_bytes(bytes_of(number, 10 * 1024))
    return root


@pytest.mark.timeout(900 if IS_LONG else 120)
def test_uploads_through_many_disconnects(
    serve: Any, large: Path, cutter: Lay, tmp_path: Path
) -> None:
    """What had arrived is not sent again, and what is stored is what was sent."""
    address = serve()
    network = cutter(address, TO_SERVER, cuts=CUTS, apart=SIZE // CUTS // 2)
    with Client(network.address) as client:
        pushed = client.artifacts.push(large)
    assert network.done == CUTS
    with Client(address) as client:
        *_, last = client.artifacts.verify(pushed.artifact.name)
        assert (last.done, list(last.damaged)) == (True, [])
        client.artifacts.pull(pushed.artifact.name, tmp_path / "pulled")
        assert client.artifacts.compare(pushed.artifact.name, large) == []
    assert digests(tmp_path / "pulled") == digests(large)


@pytest.mark.thorough
@pytest.mark.timeout(900 if IS_LONG else 120)
def test_downloads_through_many_disconnects(
    serve: Any, large: Path, cutter: Lay, tmp_path: Path
) -> None:
    """The bytes that were on their way come again, and no others."""
    address = serve()
    with Client(address) as client:
        name = client.artifacts.push(large).artifact.name
    network = cutter(address, TO_CLIENT, cuts=CUTS, apart=SIZE // CUTS // 2, seed=2)
    with Client(network.address) as client:
        pulled = client.artifacts.pull(name, tmp_path / "pulled")
    assert network.done == CUTS
    assert pulled.received_bytes == SIZE - 8 * MIB + 800 * 10 * 1024
    assert digests(tmp_path / "pulled") == digests(large)


def digests(folder: Path) -> dict[str, str]:
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in folder.iterdir()}


class After:
    """Stops a transfer once it has moved so many bytes."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.stop = threading.Event()
        self.moved = 0

    def __call__(self, progress: Progress) -> None:
        self.moved = progress.moved_bytes
        if progress.moved_bytes >= self._count:
            self.stop.set()


def test_a_push_that_is_stopped_goes_on(serve: Any, large: Path, cutter: Lay) -> None:
    """The next one sends the rest only."""
    slow = cutter(serve(), TO_SERVER, pause=0.004)
    with Client(slow.address) as client:
        after = After(10 * MIB)
        options = PushOptions([large])
        target = client.connection.target
        with pytest.raises(InterruptedError):
            do_work(target, 10, lambda c, t, s: Push(c, t, options, after, s).run(), after.stop)
        assert list(client.list_artifacts()) == []
        total = sum(each.stat().st_size for each in large.iterdir())
        assert client.artifacts.push(large).sent_bytes <= total - 10 * MIB


def test_a_pull_that_is_stopped_goes_on(
    serve: Any, large: Path, cutter: Lay, tmp_path: Path
) -> None:
    """Nothing of it can be seen at the target; the next one receives the rest only."""
    folder = tmp_path / "folder"
    slow = cutter(serve(), TO_CLIENT, pause=0.004)
    with Client(slow.address) as client:
        name = client.artifacts.push(large).artifact.name
        after = After(10 * MIB)
        options = PullOptions(name, folder / "pulled")
        target = client.connection.target
        with pytest.raises(InterruptedError):
            do_work(target, 10, lambda c, t, s: Pull(c, t, options, after, s).run(), after.stop)
        assert not (folder / "pulled").exists()
        (left,) = folder.iterdir()
        assert left.name.startswith(".subgrpc-pull-")
        # A byte that is another, and what is none of its files, is noticed.
        files = left / "files"
        (files / "stranger").write_text("?")
        with open(files / "large", "r+b") as file:
            file.write(b"another")
        total = sum(each.stat().st_size for each in large.iterdir())
        pulled = client.artifacts.pull(name, folder / "pulled")
        assert pulled.received_bytes < total
        assert digests(folder / "pulled") == digests(large)
        assert os.listdir(folder) == ["pulled"]


async def test_a_task_that_is_cancelled_stops_its_transfer(
    server: Any, large: Path, tmp_path: Path
) -> None:
    """At once; and the client can be used again."""
    async with AsyncClient(server.addresses[0]) as client:
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()

        def told(progress: Progress) -> None:
            if progress.moved_bytes:
                loop.call_soon_threadsafe(begun.set)

        pushing = asyncio.create_task(client.artifacts.push(large, on_progress=told))
        await asyncio.wait_for(begun.wait(), 20)
        pushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pushing
        assert not [each for each in threading.enumerate() if each.name.startswith("upload")]
        pushed = await client.artifacts.push(large / "0")
        await client.artifacts.pull(pushed.artifact.name, tmp_path / "pulled")


def entries(folder: Path) -> list[ArtifactFile]:
    """The list of files of a folder of small files, as a push makes it."""
    return [
        ArtifactFile(
            path=each.name,
            size_bytes=each.stat().st_size,
            sha256=hashlib.sha256(each.read_bytes()).hexdigest(),
            mode=each.stat().st_mode & 0o777,
        )
        for each in sorted(folder.iterdir())
    ]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}").write_bytes(b"%d" % number)
    return folder


def test_an_artifact_that_was_begun_is_completed(client: Client, small: Path) -> None:
    """By a push of the same files to the same name; by no other."""
    files = entries(small)
    client.artifacts.push(small)
    for name, first in (("begun", files[:4]), ("others", files[1:3]), ("complete", files)):
        client.create_artifact(Artifact(), first, artifact_id=name, more_follow=True)
    for name in ("begun", "complete"):
        done = client.artifacts.push(small, name=name)
        assert done.artifact.state == ArtifactState.ARTIFACT_STATE_READY
        assert done.artifact.digest == manifest.digest(files)
        assert list(client.artifacts.files(name)) != []
    with pytest.raises(AlreadyExists):
        client.artifacts.push(small, name="others")


def test_blobs_that_are_gone_are_sent_again(serve: Any, small: Path, tmp_path: Path) -> None:
    """Between being sent and being referred to, a collection without grace takes them."""
    with Client(serve()) as client:
        left = [True]

        def collect(progress: Progress) -> None:
            if progress.phase == "creating" and left:
                left.clear()
                for _ in range(3):
                    assert list(client.artifacts.collect_garbage(grace=timedelta(0)))

        pushed = client.artifacts.push(small, on_progress=collect)
        assert pushed.sent_bytes > sum(each.stat().st_size for each in small.iterdir())
        client.artifacts.pull(pushed.artifact.name, tmp_path / "pulled")
        assert tree(tmp_path / "pulled") == tree(small)


def test_what_waits_long_is_kept_or_sent_again(serve: Any, large: Path, cutter: Lay) -> None:
    """A long push asks again about what it has sent: here a collection without grace took it."""
    slow = cutter(serve(), TO_SERVER, pause=0.004)
    with Client(slow.address) as client:
        left = [True]

        def collect(progress: Progress) -> None:
            if progress.moved_bytes > 5 * MIB and left:
                left.clear()
                for _ in range(3):
                    assert list(client.artifacts.collect_garbage(grace=timedelta(0)))

        options = PushOptions([large], touch=0.3)
        pushed = do_work(
            client.connection.target,
            30,
            lambda c, t, s: Push(c, t, options, collect, s).run(),
            threading.Event(),
        )
        assert pushed.sent_bytes > pushed.artifact.size_bytes
        *_, last = client.artifacts.verify(pushed.artifact.name)
        assert (last.done, list(last.damaged)) == (True, [])
