"""What is printed: every read in every form, for people, programs and other commands."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from click.shell_completion import ShellComplete

from subgrpc.cli.main import cli

from .conftest import Cli, Here

FORMS = ("table", "wide", "json", "yaml", "name")
COMMAND = ["sh", "-c", "echo read me; exit 3"]


@pytest.fixture(scope="module")
def failed(shared: Cli) -> str:
    """An experiment that has failed."""
    shared("run", "-q", "--name", "read-me", "-l", "reads=yes", "--", *COMMAND, code=3)
    return "read-me"


READS = (
    ("list", "--filter", "labels.reads = yes"),
    ("get", "read-me"),
    ("tasks", "read-me"),
    ("events", "read-me"),
    ("clusters",),
    ("status",),
    ("version",),
    ("logs", "read-me"),
    ("watch", "read-me"),
    ("config", "list"),
)


@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize("words", READS, ids=lambda words: words[0])
def test_every_read_has_every_form(here: Here, words: tuple[str, ...]) -> None:
    """Data on stdout and never a colour in a pipe; JSON and YAML say the same."""
    printed = {form: here(*words, "-o", form) for form in FORMS}
    assert not any(b"\x1b" in each for each in printed.values())
    documents = list(yaml.safe_load_all(printed["yaml"]))
    if words[0] in ("logs", "watch"):
        assert documents == [json.loads(each) for each in printed["json"].splitlines()]
    else:
        # How much memory is used may change between two calls; the keys do not.
        assert keys(documents[0]) == keys(json.loads(printed["json"]))
    if words[0] != "config":
        assert all(printed.values())


def keys(document: Any) -> Any:
    """A document's keys at every depth."""
    if isinstance(document, dict):
        return {key: keys(value) for key, value in document.items()}
    return [keys(each) for each in document] if isinstance(document, list) else None


def test_names_are_what_other_commands_take(here: Here, failed: str) -> None:
    """`$(subgrpc … -o name)` works."""
    names = here("list", "--filter", "labels.reads = yes", "-o", "name")
    assert names.decode().split() == [failed]
    assert here("get", failed, "-o", "name").decode().strip() == failed
    (task,) = here("tasks", failed, "-o", "name").decode().split()
    assert here("logs", task) == b"read me\n"
    assert here("logs", failed, "-o", "name").decode().split() == [task]
    (cluster,) = here("clusters", "-o", "name").decode().split()
    assert cluster in here("clusters", cluster).decode()


def test_wide_shows_more(here: Here, failed: str) -> None:
    """Labels and messages, which a narrow table leaves out."""
    words = ["list", "--filter", "labels.reads = yes"]
    assert b"reads=yes" not in here(*words)
    assert b"reads=yes" in here(*words, "-o", "wide")
    assert here("logs", failed, "-o", "wide") == b"[main-0] read me\n"


def test_tasks_and_events_tell_what_happened(here: Here, failed: str) -> None:
    """The exit code, and the way to it."""
    (task,) = json.loads(here("tasks", failed, "-o", "json"))["tasks"]
    assert task["status"]["exitCode"] == 3
    assert json.loads(here("tasks", failed, "--attempt", "1", "-o", "json"))["tasks"] == [task]
    assert json.loads(here("tasks", failed, "--all-attempts", "-o", "json"))["tasks"] == [task]
    assert json.loads(here("tasks", failed, "--filter", "state = SUCCEEDED", "-o", "json")) == {
        "tasks": []
    }
    events = json.loads(here("events", failed, "-o", "json"))["events"]
    assert [each["sequence"] for each in events] == [str(n + 1) for n in range(len(events))]
    assert events[0]["type"] == "Created"
    assert events[-1]["state"] == "EXPERIMENT_STATE_FAILED"
    for command in ("tasks", "events", "clusters", "watch"):
        assert here(command, "not-there", code=1) == b""


def test_a_task_is_named_with_a_slash_or_a_hyphen(shared: Cli, here: Here, failed: str) -> None:
    """As people say it, and as tables print it."""
    for task in ("main/0", "main-0"):
        assert here("logs", "--task", task, failed) == b"read me\n"
    assert b"subgrpc tasks" in shared("logs", "--task", "main/7", failed, code=1).stderr


def test_a_failed_experiment_says_what_to_type_next(shared: Cli, here: Here, failed: str) -> None:
    """On stderr; and what is said works."""
    said = shared("get", failed, code=0).stderr.decode()
    assert f"subgrpc logs --attempt 1 {failed}" in said
    assert here("logs", "--attempt", "1", failed) == b"read me\n"


def test_watch_shows_every_state_once_and_ends_with_what_it_watches(shared: Cli) -> None:
    """One line of JSON for each change."""
    go = shared.folder / "go"
    words = ["sh", "-c", f"until test -e '{go}'; do sleep 0.05; done"]
    watch = shared.start("watch", "--filter", "labels.w = x", "--until-ended", "-o", "json")
    assert watch.stdout is not None
    shared("run", "-d", "--name", "watched", "-l", "w=x", "--", *words, code=0)
    lines = [watch.stdout.readline()]
    # However late the watcher came: it ends no sooner than this has been seen.
    while b"_RUNNING" not in lines[-1]:
        assert lines[-1], "the watch has ended"
        lines.append(watch.stdout.readline())
    go.touch()
    rest, told = watch.communicate(timeout=30)
    assert watch.returncode == 0, told
    lines += rest.splitlines()
    states = [json.loads(line)["experiment"]["state"] for line in lines]
    short = [each.removeprefix("EXPERIMENT_STATE_") for each in states]
    assert short[-1] == "SUCCEEDED"
    assert list(dict.fromkeys(short))[-2:] == ["RUNNING", "SUCCEEDED"]
    shown = shared("watch", "watched", code=0).stdout.decode().splitlines()
    assert shown[0].startswith("CHANGE ")
    assert "SUCCEEDED" in shown[1]


def test_version_of_both_ends(shared: Cli) -> None:
    """Without a server only of this one, and no failure."""
    found = shared.json("version")
    assert found["client"] == found["server"]
    assert "server" not in shared.json("version", "--client")
    done = shared("version", "--address", "127.0.0.1:1", "-o", "json", code=0)
    assert json.loads(done.stdout)["server"] is None
    assert b"cannot be reached" in done.stderr


def test_completion_offers_names_from_the_server(
    shared: Cli, failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Experiments, tasks and clusters; nothing where no server answers."""

    def offered(line: str) -> list[str]:
        *words, incomplete = line.split(" ")[1:]
        found = ShellComplete(cli, {}, "subgrpc", "").get_completions(words, incomplete)
        return [each.value for each in found]

    for key, value in shared.env.items():
        monkeypatch.setenv(key, value)

    assert offered("subgrpc get read-m") == [failed]
    assert failed in offered("subgrpc delete ")
    assert failed not in offered(f"subgrpc delete {failed} ")
    assert offered(f"subgrpc logs {failed} --task ma") == ["main/0"]
    assert offered("subgrpc run --cluster lo") == ["local"]
    assert offered("subgrpc clusters lo") == ["local"]
    assert offered("subgrpc get --address 127.0.0.1:1 read-m") == []
    assert offered('subgrpc get "') == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--for", "failed"], 0),
        (["--for", "running"], 0),
        (["--for", "RUNNING"], 0),
        (["--for", "succeeded"], 1),
        (["--for", "cancelled"], 1),
        (["--for", "deleted", "--timeout", "0.2s"], 124),
        (["--for", "ended"], 3),
        (["--for", "never"], 2),
    ],
)
def test_waiting_for_a_state_of_what_has_ended(
    here: Here, failed: str, words: list[str], code: int
) -> None:
    """At once: reached, or never to be."""
    here("wait", failed, *words, code=code)


def test_waiting_for_a_state_to_come(shared: Cli) -> None:
    """RUNNING while it runs; deleted when it is gone, before and after."""
    shared("run", "-d", "--name", "awaited", "--", "sleep", "600", code=0)
    assert b"RUNNING" in shared("wait", "awaited", "--for", "running", code=0).stdout
    gone = shared.start("wait", "awaited", "--for", "deleted")
    shared("delete", "--force", "awaited", code=0)
    _, told = gone.communicate(timeout=20)
    assert gone.returncode == 0, told
    shared("wait", "awaited", "--for", "deleted", code=0)
    shared("wait", "awaited", "--for", "running", code=125)
