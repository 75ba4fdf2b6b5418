"""Files that go to and from the store itself, by signed requests; or by way of the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from subgrpc.artifacts import SignedUrl, StoreSettings
from subgrpc.client import Client
from subgrpc.errors import DataLoss
from tests.rpc.transfers.conftest import Serve, StorePlugin
from tests.rpc.transfers.test_round_trip import bytes_of, tree
from tests.unit.testing.broken_stores.served import ServedStore, Server

MIB = 1 << 20


class Counting(ServedStore):
    """Counts what goes to it directly."""

    puts = gets = 0
    refuses = False
    damages = False
    breaks = 0

    def answer_put(self, key: str, data: bytes, wanted: str) -> tuple[int, bytes]:
        type(self).puts += 1
        if self.refuses:
            return 403, b"not today"
        return super().answer_put(key, data, wanted)

    def answer_get(self, key: str, start: int | None, end: int | None) -> tuple[int, bytes]:
        type(self).gets += 1
        if self.refuses:
            return 503, b"not today"
        status, data = super().answer_get(key, start, end)
        return status, bytes(len(data)) if self.damages else data


class Away(Counting):
    """Signs requests to where nobody answers."""

    def signed(self, method: str, key: str, *more: Any) -> SignedUrl:
        made = super().signed(method, key, *more)
        url = made.url.replace(f":{self.port}/", ":1/")
        return SignedUrl(made.method, url, made.headers, made.expiry)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files that are large enough to be signed, one that is cut, and small ones."""
    root = tmp_path / "files"
    root.mkdir()
    for name, size in (("a", 2 * MIB), ("b", 5 * MIB), ("c", 20 * MIB), ("d", 100), ("e", 0)):
        (root / name).write_bytes(bytes_of(size, size))
    return root


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Any]:
    """`store(kind)`: a store with a server, as options of `serve`."""
    servers = []

    def make(kind: type[Counting]) -> dict[str, Any]:
        kind.puts = kind.gets = 0
        (tmp_path / "store").mkdir()
        url = f"file://{tmp_path / 'store'}"
        server = Server(kind.from_settings(StoreSettings("served", url)))
        servers.append(server)
        plugin = StorePlugin("file", kind)
        return {"plugin": plugin, "artifacts": url, "artifact_options": {"port": server.port}}

    yield make
    for each in servers:
        each.close()


def round_trip(address: str, folder: Path, target: Path, **options: Any) -> None:
    """Pushes and pulls; both must come out right, whichever way they take."""
    with Client(address) as client:
        pushed = client.artifacts.push(folder, **options)
        assert pushed.sent_bytes == 27 * MIB + 100
        assert client.artifacts.push(folder, **options).sent_bytes == 0
        pulled = client.artifacts.pull(pushed.artifact.name, target, **options)
        assert pulled.received_bytes == 27 * MIB + 100
    assert tree(target) == tree(folder)


def test_large_files_go_directly(serve: Serve, store: Any, folder: Path, tmp_path: Path) -> None:
    """Small ones take the server, which packs them."""
    kind = type("Direct", (Counting,), {})
    round_trip(serve(**store(kind)), folder, tmp_path / "pulled")
    assert kind.puts >= 5
    assert kind.gets >= 5


def test_nothing_goes_directly_that_shall_not(
    serve: Serve, store: Any, folder: Path, tmp_path: Path
) -> None:
    """`direct=False`."""
    kind = type("Indirect", (Counting,), {})
    round_trip(serve(**store(kind)), folder, tmp_path / "pulled", direct=False)
    assert (kind.puts, kind.gets) == (0, 0)


def test_a_store_that_cannot_be_reached(
    serve: Serve, store: Any, folder: Path, tmp_path: Path
) -> None:
    """As behind a firewall: everything takes the server, and nobody waits."""
    kind = type("Far", (Away,), {})
    round_trip(serve(**store(kind)), folder, tmp_path / "pulled")
    assert (kind.puts, kind.gets) == (0, 0)


def test_a_store_that_refuses(serve: Serve, store: Any, folder: Path, tmp_path: Path) -> None:
    """Expired, forbidden, overloaded: what it does not do the server does."""
    kind = type("Refusing", (Counting,), {"refuses": True})
    round_trip(serve(**store(kind)), folder, tmp_path / "pulled")
    assert kind.puts > 0
    assert kind.gets > 0


def test_a_store_that_damages(serve: Serve, store: Any, folder: Path, tmp_path: Path) -> None:
    """What it returns is compared; nothing of it becomes visible."""
    kind = type("Damaging", (Counting,), {})
    with Client(serve(**store(kind))) as client:
        name = client.artifacts.push(folder).artifact.name
        kind.damages = True
        # The server has the right bytes, and is asked for what did not come right.
        client.artifacts.pull(name, tmp_path / "pulled")
    assert tree(tmp_path / "pulled") == tree(folder)


def test_a_damaged_object(serve: Serve, folder: Path, tmp_path: Path) -> None:
    """The store's disk has lost a byte: the server says so, and so does verify."""
    with Client(serve()) as client:
        name = client.artifacts.push(folder).artifact.name
        objects = [each for each in (tmp_path / "own").rglob("*") if each.is_file()]
        (large,) = [each for each in objects if each.stat().st_size == 5 * MIB]
        large.chmod(0o644)
        with open(large, "r+b") as file:
            file.seek(MIB)
            file.write(b"?")
        with pytest.raises(DataLoss):
            client.artifacts.pull(name, tmp_path / "pulled")
        assert not (tmp_path / "pulled").exists()
        damaged = [each.path for told in client.artifacts.verify(name) for each in told.damaged]
        assert damaged == ["b"]
        # The other files can be had all the same.
        client.artifacts.pull(name, tmp_path / "c", path="c")
    assert (tmp_path / "c").read_bytes() == (folder / "c").read_bytes()
