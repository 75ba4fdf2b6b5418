"""`cancel` and `delete` of several: by name, by filter, all; asked on a terminal only."""

from __future__ import annotations

import json

import pytest

from .conftest import Cli, Here
from .terminal import Terminal


def sleepers(cli: Cli, label: str, count: int = 2) -> list[str]:
    """Experiments that run until they are stopped."""
    names = [f"{label}-{n}" for n in range(count)]
    for name in names:
        cli("run", "-d", "--name", name, "-l", f"set={label}", "--", "sleep", "600", code=0)
    return names


def states(cli: Cli, label: str) -> set[str]:
    """The states of those with a label."""
    found = cli.json("list", "--filter", f"labels.set = {label}")["experiments"]
    return {each["state"].removeprefix("EXPERIMENT_STATE_") for each in found}


def test_several_by_name_and_one_that_is_not_there(shared: Cli) -> None:
    """What can be done is done; the rest is said, with code 1."""
    names = sleepers(shared, "named")
    done = shared("cancel", *names, "no-such", names[0], code=1)
    assert sorted(each.split()[0] for each in done.stdout.decode().splitlines()) == names
    assert b"no-such: error:" in done.stderr
    for name in names:
        shared("wait", name, code=130)
    done = shared("delete", *names, "-o", "json", code=0)
    assert len(json.loads(done.stdout)["experiments"]) == 2
    assert states(shared, "named") == set()


def test_by_filter_without_a_terminal(shared: Cli) -> None:
    """Only with --yes; those that have ended are left alone by cancel, the others by delete."""
    names = sleepers(shared, "filtered")
    words = ["--filter", "labels.set = filtered"]
    for command in ("cancel", "delete"):
        assert b"--yes" in shared(command, *words, stdin=-3, code=2).stderr
    done = shared("delete", *words, "--yes", code=0)
    assert b"2 that have not ended are left alone" in done.stderr
    assert done.stdout == b""
    shared("cancel", *words, "--yes", code=0)
    for name in names:
        shared("wait", name, code=130)
    assert b"no experiment" in shared("cancel", *words, "--yes", code=0).stderr
    done = shared("delete", *words, "--yes", "-o", "name", code=0)
    assert sorted(done.stdout.decode().split()) == names
    assert states(shared, "filtered") == set()


def test_all_of_a_server(own: Cli) -> None:
    """--all cancels what runs and deletes what has ended; with --force what runs too."""
    own.up()
    names = sleepers(own, "all")
    own("run", "-q", "--name", "over", "--", "true", code=0)
    own("cancel", "--all", "--yes", code=0)
    for name in names:
        own("wait", name, code=130)
    sleepers(own, "more", 1)
    done = own("delete", "--all", "--yes", "--no-wait", code=0)
    assert len(done.stdout.splitlines()) == 3
    own("delete", "--all", "--yes", "--force", code=0)
    for name in [*names, "over", "more-0"]:
        own("wait", "--for", "deleted", "--timeout", "20s", name, code=0)
    assert own.json("list") == {"experiments": []}


@pytest.mark.parametrize(
    "words", [[], ["a", "--all"], ["--all", "--filter", "x"], ["--filter", ""]]
)
@pytest.mark.parametrize("command", ["cancel", "delete"])
def test_one_way_to_choose(here: Here, command: str, words: list[str]) -> None:
    """Nothing, two ways, or an empty filter is a mistake and changes nothing."""
    here(command, "--yes", *words, code=2)


@pytest.mark.parametrize(("answer", "code"), [(b"\n", 1), (b"y\n", 0)])
def test_it_asks_on_a_terminal(shared: Cli, answer: bytes, code: int) -> None:
    """No is the default; names are told before anything happens."""
    (name,) = sleepers(shared, f"asked{len(answer)}{code}", 1)
    words = ["delete", "--force", "--filter", f"experiment_id = {name}"]
    with Terminal(shared, *words) as terminal:
        terminal.reads(b"[y/N]")
        assert name.encode() in terminal.seen
        terminal.write(answer)
        assert terminal.ends() == code
    assert (shared.state(name) == "") == (code == 0)
    shared("delete", "--force", name)
