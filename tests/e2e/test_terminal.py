"""On a terminal: Ctrl-C, colours, and a server that nobody had to start."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from .conftest import BIN, Cli, until
from .terminal import Terminal

ENDLESS = ("--", "sh", "-c", "echo started; sleep 600")


def test_ctrl_c_asks_and_detaches(shared: Cli) -> None:
    """The experiment goes on, and how to come back is told."""
    with Terminal(shared, "run", "--name", "detached", *ENDLESS) as terminal:
        terminal.reads(b"started")
        terminal.interrupt()
        terminal.reads(b"[c]ancel")
        terminal.write(b"d\n")
        assert terminal.ends() == 130
        assert b"subgrpc logs -f detached" in terminal.seen
    assert shared.state("detached") == "RUNNING"
    shared("delete", "--force", "detached", code=0)


def test_a_second_ctrl_c_detaches(shared: Cli) -> None:
    """Whoever is in a hurry need not answer."""
    with Terminal(shared, "run", "--name", "hurried", *ENDLESS) as terminal:
        terminal.reads(b"started")
        terminal.interrupt()
        terminal.reads(b"[c]ancel")
        terminal.interrupt()
        assert terminal.ends() == 130
        assert b"subgrpc logs -f hurried" in terminal.seen
    assert shared.state("hurried") == "RUNNING"
    shared("delete", "--force", "hurried", code=0)


def test_ctrl_c_can_cancel_and_shows_the_end(shared: Cli) -> None:
    """What it writes while it stops is still shown, and nothing twice."""
    script = 'trap "echo stopping; exit 0" TERM; echo started; while :; do sleep 0.1; done'
    with Terminal(shared, "run", "--name", "stopped", "--", "sh", "-c", script) as terminal:
        terminal.reads(b"started")
        terminal.interrupt()
        terminal.reads(b"[c]ancel")
        terminal.write(b"c\n")
        assert terminal.ends() == 130
        assert b"stopping" in terminal.seen
        assert b"started" not in terminal.seen
        assert b"CANCELLED" in terminal.seen
    assert shared.state("stopped") == "CANCELLED"


def test_colours_are_for_terminals_that_want_them(shared: Cli) -> None:
    """NO_COLOR and TERM=dumb are honoured."""
    shared("run", "-q", "--name", "coloured", "--", "true", code=0)
    words = ["list", "--filter", "experiment_id = coloured"]
    for env, wanted in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        with Terminal(shared, *words, **env) as terminal:
            assert terminal.ends() == 0
            assert b"SUCCEEDED" in terminal.seen
            assert (b"\x1b[" in terminal.seen) == wanted


def test_what_waits_says_what_to_type(own: Cli) -> None:
    """In `get` and while `run` follows."""
    own.up("--local", "cpu=1")
    own("run", "-d", "--name", "first", "--cpu", "1", "--", "sleep", "600", code=0)
    own.reaches("first", "RUNNING")
    own("run", "-d", "--name", "second", "--cpu", "1", "--", "true", code=0)
    until(lambda: own.json("get", "second").get("reason") == "WaitingForResources", "it waits")
    said = own("get", "second", code=0)
    assert b"WaitingForResources" in said.stdout
    assert b"subgrpc clusters" in said.stderr
    run = own.start("run", "--name", "third", "--cpu", "1", "--", "true")
    assert run.stderr is not None
    lines = [run.stderr.readline() for _ in range(3)]
    assert b"subgrpc clusters" in lines[2]
    own("delete", "--force", "first", code=0)
    run.communicate(timeout=30)
    assert run.returncode == 0


def _apart() -> list[str]:
    """What runs a command in a network of its own, where the default address is free."""
    words = ["unshare", "-Urn", "sh", "-c"]
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return []
    tried = subprocess.run([*words, "ip link set lo up"], capture_output=True, check=False)
    return words if tried.returncode == 0 else []


@pytest.mark.skipif(not _apart(), reason="makes a network of its own with unshare and ip")
@pytest.mark.sqlite  # the testbed is not in its network namespace
def test_run_starts_a_server_where_none_is_and_none_was_chosen(own: Cli) -> None:
    """One line on stderr; the second run finds it; a chosen address never starts one."""
    script = """
        ip link set lo up
        subgrpc run --address 127.0.0.1:7411 -- true; echo address $?
        subgrpc config set mine --address 127.0.0.1:7411 2>/dev/null
        subgrpc run --context mine -- true; echo context $?
        subgrpc list; echo list $?
        (subgrpc run -q -- echo one) & (subgrpc run -q -- echo two) & wait
        subgrpc run -q -- echo three; echo run $?
        subgrpc down >/dev/null
    """
    env = {**own.env, "PATH": f"{BIN}:{own.env['PATH']}"}
    done = subprocess.run(
        [*_apart(), script], env=env, cwd=own.folder, capture_output=True, text=True, timeout=50
    )
    out, told = done.stdout.splitlines(), done.stderr
    assert "Traceback" not in told, told
    assert {"address 125", "context 125", "list 1", "run 0"} <= set(out), done
    assert sorted(each for each in out if " " not in each and each != "mine") == [
        "one",
        "three",
        "two",
    ]
    assert told.count("started a server on 127.0.0.1:7411") == 1, told
    assert told.count("cannot be reached") == 3
