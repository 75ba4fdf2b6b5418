"""Disks that are full: what cannot be kept is refused, what runs goes on, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli, until

PAGE = 4096


@pytest.fixture
def small(own: Cli, small_disk: Path) -> Iterator[Cli]:
    """The command with a data folder on a disk of 16 MiB."""
    own.data = small_disk / "data"
    own.env["SUBGRPC_DATA_DIR"] = str(own.data)
    yield own
    (small_disk / "ballast").unlink(missing_ok=True)
    own.close()


def fill(disk: Path) -> Path:
    """Takes all room that is left; the file that has to be removed."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(PAGE))
    return ballast


def fill_log(cli: Cli) -> None:
    """Fills the last page of the server's log: not another line has room on a full disk."""
    log = cli.data / "server.log"
    with log.open("ab") as file:
        file.write(b" " * (-log.stat().st_size % PAGE))


def ticking(cli: Cli, name: str, lines: int) -> tuple[Path, bytes]:
    """Starts what writes long lines until a file is there; the file, and what it writes."""
    go = cli.folder / f"{name}.go"
    script = (
        f"i=0; while test $i -lt {lines}; do i=$((i+1)); printf '%0999d\\n' $i; sleep 0.05; done; "
        f"until test -e '{go}'; do sleep 0.05; done; echo end"
    )
    cli("run", "-d", "--name", name, "--", "sh", "-c", script, code=0)
    cli.reaches(name, "RUNNING")
    return go, b"".join(b"%0999d\n" % each for each in range(1, lines + 1)) + b"end\n"


def test_a_full_disk_loses_nothing_that_was_acknowledged(small: Cli, small_disk: Path) -> None:
    """Changes are refused and say why, reads and tasks go on; later everything does.

    The output of the task has room on another disk, as its journal, the metastore and the log of
    the server have not: that is collected when they do.
    """
    elsewhere = small.folder / "drivers"
    elsewhere.mkdir()
    small.data.mkdir()
    (small.data / "drivers").symlink_to(elsewhere)
    small.up()
    go, written = ticking(small, "before", 60)
    fill_log(small)
    ballast = fill(small_disk)
    refused = small("run", "-d", "--name", "refused", "--", "true")
    assert refused.returncode == 125
    assert b"disk is full" in refused.stderr
    assert b"METASTORE_UNAVAILABLE" in refused.stderr
    assert small("cancel", "before").returncode == 1
    output = next(elsewhere.rglob("stdout"))
    until(lambda: output.stat().st_size == 60 * 1000, "the task wrote all of its lines")
    assert small.state("before") == "RUNNING"
    assert small("list", "-o", "name", code=0).stdout.split() == [b"before"]
    assert written.startswith(small("logs", "before", code=0).stdout)
    go.touch()
    until(lambda: output.stat().st_size == len(written), "the task ended")
    assert small.state("before") == "RUNNING", "what cannot be stored is not told"
    ballast.unlink()
    small("run", "-q", "--name", "refused", "--", "true", code=0)
    small("wait", "--timeout", "30s", "before", code=0)
    assert small("logs", "-f", "before", code=0).stdout == written
    small("admin", "check", code=0)
    small("down", code=0)


def test_a_server_that_is_killed_on_a_full_disk_starts_again(small: Cli, small_disk: Path) -> None:
    """While the disk is full it is refused in words; then it takes up what was acknowledged."""
    small.up()
    go, written = ticking(small, "before", 1)
    ballast = fill(small_disk)
    small.kill()
    address = ("--listen", f"127.0.0.1:{small.port}")
    told = small("up", "--detach", *address)
    assert told.returncode == 1
    assert b"No space left on device" in told.stderr or b"disk is full" in told.stderr
    ballast.unlink()
    small.up(port=small.port)
    go.touch()
    small("wait", "--timeout", "30s", "before", code=0)
    assert small("logs", "-f", "before", code=0).stdout == written


def test_output_waits_for_room_in_the_journal(own: Cli, small_disk: Path) -> None:
    """The journals alone have no room: an end is told, the logs have none until they are whole."""
    own.data.mkdir()
    (own.data / "journals").symlink_to(small_disk)
    own.up()
    ballast = fill(small_disk)
    line = f"{'x' * 99}\n"
    own("run", "-d", "--name", "silent", "--", "sh", "-c", f"yes {line.strip()} | head -n 3000")
    own.reaches("silent", "SUCCEEDED")
    frames = own("logs", "silent", "-o", "json", code=0).stdout
    assert not any("end" in json.loads(each) for each in frames.splitlines())
    own.kill()  # the next server collects them, too
    own.up(port=own.port)
    follower = own.start("logs", "-f", "silent")
    ballast.unlink()
    out, told = follower.communicate(timeout=40)
    assert follower.returncode == 0, told
    assert out.decode() == line * 3000
    frames = own("logs", "silent", "-o", "json", code=0).stdout
    assert "end" in json.loads(frames.splitlines()[-1])


def test_a_task_that_fills_the_disk_meets_its_own_error(small: Cli, small_disk: Path) -> None:
    """It gets ENOSPC from the system; how it ended is told once there is room to store it."""
    small.up()
    script = "head -c 40000000 /dev/zero; echo $? >&2; exit 7"
    small("run", "-d", "--name", "greedy", "--", "sh", "-c", script, code=0)
    until(lambda: os.statvfs(small_disk).f_bavail == 0, "full")
    assert small.state("greedy") in ("QUEUED", "STARTING", "RUNNING")
    size = next(small.data.glob("drivers/*/runs/*/1/main-0/stdout")).stat().st_size
    assert size < 16 << 20
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    small.reaches("greedy", "FAILED")
    assert small.json("tasks", "greedy")["tasks"][0]["status"]["exitCode"] == 7
    until(lambda: len(small("logs", "greedy", code=0).stdout) >= size, "all that it wrote")


def test_a_backup_for_which_there_is_no_room_leaves_nothing(own: Cli, small_disk: Path) -> None:
    own.up()
    own("run", "-q", "--", "true", code=0)
    fill(small_disk)
    for name in ("b.tar", "b.tar.gz"):
        done = own("admin", "backup", str(small_disk / name), code=1)
        assert b"No space left on device" in done.stderr
        assert b"BACKUP_FAILED" in done.stderr
    assert [each.name for each in small_disk.iterdir()] == ["ballast"]
    own("run", "-q", "--", "true", code=0)
