"""A server whose artifacts are on HDFS, as its users have it."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli, own
from tests.integration.hdfs.cluster import Detour, Hdfs, settings

__all__ = ["own"]
pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Small files, which are packed, and one of many chunks."""
    folder = tmp_path / "tree"
    folder.mkdir()
    data = random.Random(7)
    for number in range(200):
        (folder / f"small-{number}").write_bytes(data.randbytes(data.randrange(20_000)))
    (folder / "large").write_bytes(data.randbytes(100 << 20))
    return folder


def up(cli: Cli, address: str, folder: str) -> None:
    store = settings(address, folder)
    options = [f"{name}={value}" for name, value in store.options.items()]
    cli.up("--artifacts", store.url, *(x for each in options for x in ("--artifact-option", each)))


def files(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def pulled(cli: Cli, name: str) -> dict[str, bytes]:
    target = cli.folder / "pulled"
    cli("artifact", "pull", name, str(target), code=0)
    return files(target)


def test_push_and_pull(own: Cli, hdfs: Hdfs, folder: str, tree: Path) -> None:
    """What was pushed comes back byte for byte, also by another server's life."""
    up(own, hdfs.namenode, folder)
    own("artifact", "push", str(tree), "--name", "model", code=0)
    assert len(hdfs.names(f"{folder}/objects")) < 60, "small files are not packed"
    own("down", code=0)
    up(own, hdfs.namenode, folder)
    own("artifact", "verify", "model", code=0)
    assert pulled(own, "model") == files(tree)


def test_a_push_outlives_an_outage(own: Cli, detour: Detour, folder: str, tree: Path) -> None:
    """HDFS goes away in the middle of a push and comes back: the push is done, and right."""
    up(own, detour.address, folder)
    detour.datanode.poison("bandwidth", "upstream", rate=20_000)

    def trouble() -> None:
        while not detour.asked("CREATE")[2:]:
            threading.Event().wait(0.02)
        detour.swallow()
        threading.Event().wait(8)
        detour.heal()

    troublemaker = threading.Thread(target=trouble, daemon=True)
    troublemaker.start()
    push = own.start("artifact", "push", str(tree), "--name", "model")
    _, told = push.communicate(timeout=120)
    assert push.returncode == 0, told.decode()
    troublemaker.join(20)
    assert not troublemaker.is_alive(), "there was no trouble"
    own("artifact", "verify", "model", code=0)
    assert pulled(own, "model") == files(tree)
