"""Pipes, terminals and locales as they come: closed, narrow, absent, not UTF-8, many at once."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess

import pytest
import yaml

from subgrpc.client import AsyncClient

from .conftest import Cli
from .terminal import Terminal

PRINTING = (
    *(("list",), ("list", "-o", "json"), ("list", "-o", "yaml"), ("list", "-o", "name")),
    *(("get", "printed"), ("tasks", "printed"), ("events", "printed"), ("clusters",), ("status",)),
    *(
        ("logs", "printed"),
        ("logs", "-f", "printed", "-o", "json"),
        ("watch",),
        ("wait", "printed"),
    ),
    *(("version",), ("schema",), ("completion", "zsh"), ("--help",), ("logs", "--help")),
    *(("run", "-d", "--", "true"), ("validate", "no-such.yaml"), ("--version",)),
)
NAME = "Größe 实验"


@pytest.fixture(scope="module", autouse=True)
def _shown(shared: Cli) -> None:
    """An experiment with output, and with a name and a label in other scripts."""
    spec = {
        "name": "printed",
        "display_name": NAME,
        "labels": {"a": "实"},
        "command": "seq 30000",
    }
    (shared.folder / "printed.yaml").write_text(json.dumps(spec))
    if not shared.state("printed"):  # the server outlives this fixture
        shared("run", "-q", "printed.yaml", code=0)


@pytest.mark.parametrize("words", PRINTING, ids=" ".join)
def test_a_pipe_that_nobody_reads_ends_a_command_quietly(
    shared: Cli, words: tuple[str, ...]
) -> None:
    """With 141, as SIGPIPE would; nothing on stderr, no traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as closed:
        done = shared(*words, stdout=closed, stderr=subprocess.PIPE, capture_output=False)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [("schema",), ("logs", "printed")], ids=" ".join)
def test_a_reader_that_goes_away_in_the_middle_is_noticed(
    shared: Cli, words: tuple[str, ...], unbuffered: str
) -> None:
    """`| head -1`: not taken for all of it having been written."""
    env = {**shared.env, "PYTHONUNBUFFERED": unbuffered}
    command = shared.start(*words, env=env, pipesize=4096)
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.read(1)
    command.stdout.close()
    assert (command.stderr.read(), command.wait(20)) == (b"", 141)


def test_a_narrow_terminal(shared: Cli) -> None:
    """Of 20 columns, and of a size that nobody knows: everything is there."""
    for columns in (20, 1, 0):
        with Terminal(shared, "logs", "--help", columns=columns) as terminal:
            assert terminal.ends() == 0
            assert b"--since-attempt" in terminal.seen
        with Terminal(shared, "get", "printed", columns=columns) as terminal:
            assert terminal.ends() == 0
            assert NAME.encode() in terminal.seen


def test_columns_are_aligned_whatever_the_script(shared: Cli) -> None:
    """A Chinese character takes two columns of a terminal."""
    shared("run", "-d", "--name", "broken", "-l", "a=四个字", "-l", "s=x", "--", "false", code=0)
    shared("run", "-d", "--name", "failing", "-l", "a=123456", "-l", "s=x", "--", "false", code=0)
    for name in ("broken", "failing"):
        shared("wait", name, code=1)
    done = shared("list", "--filter", "labels.s = x", "-o", "wide", code=0)
    header, *rows = done.stdout.decode().splitlines()
    places = {row.index("task main-0") + row.count("四") * 3 for row in rows}
    assert places == {header.index("MESSAGE")}


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
    ],
    ids=str,
)
def test_json_and_yaml_can_be_read_in_every_locale(shared: Cli, env: dict[str, str]) -> None:
    """What the encoding of stdout lacks is escaped as JSON and YAML do it; tables never fail."""

    def printed(*words: str) -> bytes:
        return shared(*words, env={**shared.env, **env}, code=0).stdout

    assert json.loads(printed("get", "printed", "-o", "json"))["displayName"] == NAME
    assert yaml.safe_load(printed("get", "printed", "-o", "yaml"))["displayName"] == NAME
    assert b"Display name:" in printed("get", "printed")
    (change,) = printed("watch", "printed", "-o", "json").splitlines()
    assert json.loads(change)["experiment"]["displayName"] == NAME


def test_without_a_terminal_or_any_standard_stream(shared: Cli) -> None:
    """As cron and CI call it: nothing asks, nothing hangs; a full disk is told."""
    script = """
        subgrpc list --limit 1 -o name <&-; echo $?
        subgrpc list --limit 1 >&-; echo $?
        subgrpc list --limit 1 2>&-; echo $?
        subgrpc list --limit 1 <&- >&- 2>&-; echo $?
        subgrpc run -q -- true <&- >&- 2>&-; echo $?
        subgrpc delete --all <&-; echo $?
        subgrpc cancel --all </dev/null; echo $?
        subgrpc list >/dev/full; echo $?
        subgrpc logs printed >/dev/full; echo $?
    """
    done = subprocess.run(
        ["setsid", "sh", "-c", script], env=shared.env, capture_output=True, text=True, timeout=50
    )
    assert "Traceback" not in done.stderr, done.stderr
    codes = [int(line) for line in done.stdout.splitlines() if line.isdigit()]
    assert codes == [0, 0, 0, 0, 0, 2, 2, 1, 1]
    assert done.stderr.count("No space left on device") == 2


def test_two_terminals_on_one_experiment(shared: Cli) -> None:
    """Both see all of it; both may cancel it; either may go away."""
    script = 'trap "echo stopping; exit 0" TERM; echo started; while :; do sleep 0.1; done'
    shared("run", "-d", "--name", "both", "--", "sh", "-c", script, code=0)
    words = ["logs", "-f", "both"]
    with (
        Terminal(shared, *words) as first,
        Terminal(shared, *words) as second,
        Terminal(shared, *words) as third,
    ):
        for each in (first, second, third):
            each.reads(b"started")
        third.interrupt()
        assert third.ends() == 130
        cancels = [shared.start("cancel", "both") for _ in range(2)]
        assert [each.wait(20) for each in cancels] == [0, 0]
        for each in (first, second):
            assert each.ends() == 0
            assert each.seen.count(b"started") == each.seen.count(b"stopping") == 1
    assert shared.state("both") == "CANCELLED"
    deletes = [shared.start("delete", "both") for _ in range(2)]
    codes = sorted(each.wait(20) for each in deletes)
    assert codes in ([0, 0], [0, 1])  # 1: it was gone already
    assert shared.state("both") == ""


async def _create(address: str, count: int) -> None:
    async with AsyncClient(address) as client:
        for start in range(0, count, 100):
            await asyncio.gather(
                *(
                    client.experiments.create("true", name=f"e-{start + n:04d}", cpu=1)
                    for n in range(100)
                )
            )


def test_a_thousand_experiments_in_a_table(own: Cli) -> None:
    """Each once, newest first, over pages; the default is a page that says that there is more."""
    own.up("--local", "cpu=1")
    # While it runs, the others wait; it ends by itself once the server is gone.
    script = f"until test -e '{own.folder}/go'; do sleep 0.1; done"
    own("run", "-d", "--name", "first", "--cpu", "1", "--", "sh", "-c", script, code=0)
    own.reaches("first", "RUNNING")
    asyncio.run(_create(own.env["SUBGRPC_ADDRESS"], 1000))
    every = own("list", "--limit", "0", "--order-by", "experiment_id", code=0)
    rows = every.stdout.decode().splitlines()
    assert [row.split()[0] for row in rows[1:]] == [*(f"e-{n:04d}" for n in range(1000)), "first"]
    assert len({row.index("local") for row in rows[1:]}) == 1
    assert len(own("list", "-o", "name", code=0).stdout.splitlines()) == 50
    some = own("list", "--limit", "1000", "-o", "json", code=0)
    assert len(json.loads(some.stdout)["experiments"]) == 1000
    assert b"more than 1000" in some.stderr
    assert b"1000 QUEUED" in own("status", code=0).stdout
    own.kill()
    del own.env["SUBGRPC_ADDRESS"]
    (own.folder / "go").touch()
