"""Control groups of both versions: what is written, what is read, what is left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from subgrpc.agent import cgroup


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """A folder that looks like a new group of version 2."""
    folder = tmp_path / "group"
    folder.mkdir()
    for name in ("memory.max", "memory.swap.max", "memory.oom.group", "cgroup.procs"):
        (folder / name).touch()
    return folder


def test_version_2(group: Path) -> None:
    """The limit counts without swap, and the group ends as a whole when it is exceeded."""
    cgroup.create(str(group), 1 << 20)
    assert (group / "memory.max").read_text() == str(1 << 20)
    assert (group / "memory.swap.max").read_text() == "0"
    assert (group / "memory.oom.group").read_text() == "1"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("memory.events", "low 0\nhigh 0\nmax 31\noom 2\noom_kill 2\noom_group_kill 1\n"),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
    ],
)
def test_oom_kills(group: Path, name: str, text: str) -> None:
    """Both versions count the processes that were killed, under names of their own."""
    assert cgroup.oom_kills(str(group)) == 0
    (group / name).write_text(text)
    assert cgroup.oom_kills(str(group)) == 2


def test_delegation(tmp_path: Path) -> None:
    """In version 2 a group is made where memory is handed on, not where processes live."""
    inner = tmp_path / "slice" / "service"
    inner.mkdir(parents=True)
    for folder, control in ((tmp_path, "memory"), (inner.parent, "cpu memory"), (inner, "")):
        (folder / "cgroup.subtree_control").write_text(control)
        (folder / "cgroup.procs").touch()
    assert cgroup.delegated(str(tmp_path), str(inner)) == str(inner.parent)
    (inner.parent / "cgroup.subtree_control").write_text("cpu")
    assert cgroup.delegated(str(tmp_path), str(inner)) == str(tmp_path)
    (tmp_path / "cgroup.subtree_control").write_text("cpu")
    assert cgroup.delegated(str(tmp_path), str(inner)) == ""


def test_a_group_that_cannot_be_made() -> None:
    """Says so, and leaves nothing."""
    with pytest.raises(OSError, match="/proc/no"):
        cgroup.create("/proc/no/group", 1)
    assert cgroup.remove("/proc/no/group")
    assert cgroup.members("/proc/no/group") == []


@pytest.mark.skipif(not cgroup.find_parent(), reason="no control groups can be made here")
def test_a_real_group() -> None:
    """Made, empty, removed; made again is fine."""
    folder = f"{cgroup.find_parent()}/subgrpc-test-{os.getpid()}"
    cgroup.create(folder, 64 << 20)
    cgroup.create(folder, 64 << 20)
    assert cgroup.members(folder) == []
    assert cgroup.oom_kills(folder) == 0
    assert cgroup.remove(folder)
    assert not Path(folder).exists()
