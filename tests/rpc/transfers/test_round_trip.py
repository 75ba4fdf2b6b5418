"""Artifacts that are pushed to a real server and pulled from it."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from subgrpc.client import AsyncClient, Client, Progress
from subgrpc.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from subgrpc.v1.artifact_service_pb2 import ArtifactState

MIB = 1 << 20


def bytes_of(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def tree(root: Path) -> dict[str, Any]:
    """What is in a folder: contents, permissions of the owner, targets of links."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = (path.read_bytes(), path.stat().st_mode & 0o700)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of each kind."""
    root = tmp_path_factory.mktemp("pushed") / "model"
    for path, content in {
        "empty": b"",
        "small": b"x",
        "config/a b.json": b"{}",
        "config/caf\u00e9": b"coffee",
        "run.sh": b"#!/bin/sh\n",
        "again": b"{}",
        "weights/one.bin": bytes_of(1, 3 * MIB),
        "weights/large.bin": bytes_of(2, 40 * MIB),
        "weights/zeros.bin": bytes(33 * MIB),
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    (root / "run.sh").chmod(0o755)
    (root / "latest").symlink_to("weights/large.bin")
    (root / "weights" / "folder").symlink_to("../config")
    return root


class Flavours:
    """A client that blocks, or one for asyncio, used alike."""

    def __init__(self, kind: type[Any], address: str) -> None:
        self._kind, self._address = kind, address

    def __call__(self, use: Callable[[Any], Any]) -> Any:
        if self._kind is Client:
            with Client(self._address) as client:
                found = use(client)
                return list(found) if hasattr(found, "__next__") else found
        return asyncio.run(self._other(use))

    async def _other(self, use: Callable[[Any], Any]) -> Any:
        async with AsyncClient(self._address) as client:
            found = use(client)
            if inspect.isawaitable(found):
                return await found
            return [each async for each in found]


@pytest.fixture(params=[Client, AsyncClient])
def either(request: Any, address: str) -> Flavours:
    return Flavours(request.param, address)


def test_what_is_pulled_is_what_was_pushed(either: Flavours, folder: Path, tmp_path: Path) -> None:
    """Bytes, permissions, links; the second time nothing moves, in either direction."""
    total = sum(len(each[0]) for each in tree(folder).values() if isinstance(each, tuple))
    pushed = either(lambda c: c.artifacts.push(folder, labels={"a": "b"}, description="d"))
    artifact = pushed.artifact
    assert artifact.state == ArtifactState.ARTIFACT_STATE_READY
    assert (artifact.file_count, artifact.size_bytes) == (11, total)
    assert (dict(artifact.labels), artifact.description) == ({"a": "b"}, "d")

    again = either(lambda c: c.artifacts.push(folder))
    assert (again.sent_bytes, again.existed) == (0, False)
    assert again.artifact.digest == artifact.digest
    assert again.artifact.name != artifact.name

    target = tmp_path / "deep" / "target"
    pulled = either(lambda c: c.artifacts.pull(artifact.name, target))
    assert tree(target) == tree(folder)
    assert (pulled.file_count, pulled.existed, pulled.target) == (11, False, str(target))
    assert pulled.received_bytes <= total
    before = target.stat().st_ino
    once_more = either(lambda c: c.artifacts.pull(artifact.name, target))
    assert (once_more.received_bytes, once_more.existed) == (0, True)
    assert target.stat().st_ino == before
    assert either(lambda c: c.artifacts.compare(artifact.name, target)) == []
    assert os.listdir(target.parent) == ["target"]
    *_, last = either(lambda c: c.artifacts.verify(artifact.name))
    assert (last.done, last.size_bytes, list(last.damaged)) == (True, total, [])


def test_reading_and_managing(either: Flavours, folder: Path) -> None:
    """get, list, files, read, update, delete."""
    made = either(lambda c: c.artifacts.push(folder / "config", labels={"kind": "config"})).artifact
    short = made.name.rpartition("/")[2]
    assert either(lambda c: c.artifacts.get(short)) == made
    found = either(lambda c: c.artifacts.list(filter=f'artifact_id = "{short}"'))
    assert [each.name for each in found] == [made.name]
    files = either(lambda c: c.artifacts.files(short))
    assert [each.path for each in files] == ["a b.json", "caf\u00e9"]
    files = either(lambda c: c.artifacts.files(short, prefix="a"))
    assert [each.path for each in files] == ["a b.json"]
    read = either(lambda c: c.artifacts.read(short, "caf\u00e9"))
    assert b"".join(read) == b"coffee"
    read = either(lambda c: c.artifacts.read(short, "caf\u00e9", offset=1, length=3))
    assert b"".join(read) == b"off"
    changed = either(
        lambda c: c.artifacts.update(short, labels={}, display_name="n", description="t")
    )
    assert (dict(changed.labels), changed.display_name, changed.description) == ({}, "n", "t")
    either(lambda c: c.artifacts.delete(short))
    for use in (
        lambda c: c.artifacts.get(short),
        lambda c: c.artifacts.delete(short),
        lambda c: c.artifacts.pull(short, "nowhere"),
        lambda c: c.artifacts.get("some-run/model"),
    ):
        with pytest.raises(NotFound):
            either(use)
    either(lambda c: c.artifacts.delete(short, allow_missing=True))
    *_, last = either(lambda c: c.artifacts.collect_garbage(validate_only=True))
    assert last.done


def test_a_change_in_one_place_sends_little(client: Client, folder: Path, tmp_path: Path) -> None:
    """Bytes that are put into the middle of a large file."""
    data = bytes_of(2, 40 * MIB)
    path = tmp_path / "large.bin"
    path.write_bytes(data)
    client.artifacts.push(path)
    path.write_bytes(data[: 20 * MIB] + b"inserted" + data[20 * MIB :])
    assert 0 < client.artifacts.push(path).sent_bytes < 12 * MIB
    path.write_bytes(data)
    assert client.artifacts.push(path).sent_bytes == 0


def test_a_name_stands_for_its_files(client: Client, folder: Path, tmp_path: Path) -> None:
    """The same files under it again are no error; others are."""
    first = client.artifacts.push(folder / "config", name="named")
    assert not first.existed
    again = client.artifacts.push(folder / "config", name="named")
    assert (again.existed, again.artifact.uid) == (True, first.artifact.uid)
    with pytest.raises(AlreadyExists) as taken:
        client.artifacts.push(folder / "run.sh", name="named")
    assert taken.value.reason == "ARTIFACT_EXISTS"
    with pytest.raises(InvalidArgument):
        client.artifacts.push(folder / "config", name="No Name")


def test_a_part_of_an_artifact(client: Client, folder: Path, tmp_path: Path) -> None:
    """One file, under its own or another name, or what is in a folder."""
    client.artifacts.push(folder, name="parts")
    (tmp_path / "there").mkdir()
    for target, made in (("one.sh", "one.sh"), ("there", "there/run.sh"), ("new/", "new/run.sh")):
        client.artifacts.pull("parts", f"{tmp_path}/{target}", path="run.sh")
        assert (tmp_path / made).read_bytes() == b"#!/bin/sh\n"
        assert os.access(tmp_path / made, os.X_OK)
    with pytest.raises(FailedPrecondition) as refused:
        client.artifacts.pull("parts", tmp_path / "one.sh", path="small")
    assert refused.value.reason == "TARGET_EXISTS"
    client.artifacts.pull("parts", tmp_path / "one.sh", path="small", force=True)
    assert (tmp_path / "one.sh").read_bytes() == b"x"
    assert client.artifacts.pull("parts", tmp_path / "one.sh", path="small").existed
    for path in ("config", "config/"):
        client.artifacts.pull("parts", tmp_path / "config", path=path)
        assert tree(tmp_path / "config") == tree(folder / "config")
    for path in ("conf", "nowhere", "run.sh/x"):
        with pytest.raises(NotFound):
            client.artifacts.pull("parts", tmp_path / "nothing", path=path)
    # Its link leads out of this part, though not out of the artifact.
    with pytest.raises(FailedPrecondition) as refused:
        client.artifacts.pull("parts", tmp_path / "weights", path="weights")
    assert refused.value.reason == "UNSAFE_PATH"
    assert not (tmp_path / "weights").exists()


def test_what_is_at_the_target(client: Client, folder: Path, tmp_path: Path) -> None:
    """Is kept, unless it is to be replaced; then as a whole."""
    client.artifacts.push(folder, name="target")
    target = tmp_path / "target"
    (target / "old").mkdir(parents=True)
    (target / "old" / "file").write_text("old")
    with pytest.raises(FailedPrecondition) as refused:
        client.artifacts.pull("target", target)
    assert refused.value.reason == "TARGET_EXISTS"
    assert os.listdir(tmp_path) == ["target"]
    client.artifacts.pull("target", target, force=True)
    assert tree(target) == tree(folder)
    assert os.listdir(tmp_path) == ["target"]


def test_tens_of_thousands_of_files(client: Client, tmp_path: Path) -> None:
    """More than one message holds."""
    folder = tmp_path / "many"
    for number in range(20_050):
        if number % 1000 == 0:
            (folder / f"{number // 1000}").mkdir(parents=True)
        (folder / f"{number // 1000}" / f"{number}").write_bytes(b"%d" % (number % 7))
    pushed = client.artifacts.push(folder)
    assert pushed.artifact.file_count == 20_050
    client.artifacts.pull(pushed.artifact.name, tmp_path / "pulled")
    assert tree(tmp_path / "pulled") == tree(folder)


def test_progress_comes_to_its_end(client: Client, folder: Path, tmp_path: Path) -> None:
    """Phases in their order, and all bytes done."""
    for use, phases in (
        (
            lambda told: client.artifacts.push(folder, on_progress=told),
            ["scanning", "sending", "creating", "done"],
        ),
        (
            lambda told: client.artifacts.pull("progress", tmp_path / "new", on_progress=told),
            ["listing", "receiving", "placing", "done"],
        ),
    ):
        client.artifacts.push(folder, name="progress")
        seen: list[Progress] = []
        words: list[str] = []

        def told(progress: Progress) -> None:
            seen.append(progress)  # noqa: B023 - called before the next turn
            if progress.phase not in words[-1:]:  # noqa: B023
                words.append(progress.phase)  # noqa: B023

        use(told)
        assert words == phases
        last = seen[-1]
        assert last.done_bytes == last.total_bytes > 0
        assert last.total_files == 11
