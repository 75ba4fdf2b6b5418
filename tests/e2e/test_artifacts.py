"""`subgrpc artifact` as it is typed."""

from __future__ import annotations

import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from .conftest import Cli, Here, until
from .terminal import Terminal

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    (root / "sub").mkdir(parents=True)
    (root / "weights.bin").write_bytes(os.urandom(3 * MIB))
    (root / "sub" / "config.json").write_text("{}")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "notes.tmp").write_text("not this")
    return root


def content(root: Path) -> dict[str, bytes]:
    return {
        str(each.relative_to(root)): each.read_bytes() for each in root.rglob("*") if each.is_file()
    }


@pytest.mark.thorough
def test_a_model_there_and_back(shared: Cli, folder: Path, tmp_path: Path) -> None:
    """push, ls, get, files, cat, pull, verify, update, rm, gc with the installed command."""
    words = ("artifact", "push", str(folder), "--exclude", "*.tmp", "--name", "there")
    pushed = shared(*words, "-l", "stage=test", "--description", "first", code=0)
    assert pushed.stdout == b"there\n"
    assert b"3 files, 3 MiB; 3 MiB had to be sent" in pushed.stderr
    again = shared(*words, code=0)
    assert (again.stdout, b"there already" in again.stderr) == (b"there\n", True)

    assert shared("artifact", "ls", "-o", "name", code=0).stdout.split().count(b"there") == 1
    found = shared.json("artifact", "get", "there")
    assert (found["state"], found["labels"]) == ("ARTIFACT_STATE_READY", {"stage": "test"})
    listed = shared.json("artifact", "ls", "--filter", 'labels.stage = "test"')["artifacts"]
    assert [each["name"] for each in listed] == ["teams/default/artifacts/there"]
    files = shared("artifact", "files", "there", "-o", "name", code=0).stdout
    assert files == b"run.sh\nsub/config.json\nweights.bin\n"
    assert b"755" in shared("artifact", "files", "there", "run", code=0).stdout
    weights = (folder / "weights.bin").read_bytes()
    assert shared("artifact", "cat", "there", "weights.bin", code=0).stdout == weights
    cut = ("--offset", "10", "--length", "5")
    assert shared("artifact", "cat", "there", "weights.bin", *cut, code=0).stdout == weights[10:15]

    target = tmp_path / "again"
    pulled = shared("artifact", "pull", "there", str(target), code=0)
    assert pulled.stdout == f"{target}\n".encode()
    (folder / "notes.tmp").unlink()
    assert content(target) == content(folder)
    assert os.access(target / "run.sh", os.X_OK)
    told = shared.json("artifact", "pull", "there", str(target))
    assert (told["existed"], told["receivedBytes"], told["fileCount"]) == (True, 0, 3)
    shared(
        "artifact", "pull", "there", str(tmp_path / "c.json"), "--path", "sub/config.json", code=0
    )
    assert (tmp_path / "c.json").read_text() == "{}"

    assert b"all is right" in shared("artifact", "verify", "there", code=0).stderr
    shared("artifact", "verify", "there", str(target), code=0)
    (target / "run.sh").write_text("#!/bin/sh\nexit\n")
    refused = shared("artifact", "verify", "there", str(target), code=1)
    assert b"run.sh" in refused.stdout
    taken = shared("artifact", "pull", "there", str(target), code=1)
    assert b"subgrpc errors TARGET_EXISTS" in taken.stderr
    shared("artifact", "pull", "there", str(target), "--force", code=0)
    assert content(target) == content(folder)

    changed = shared.json("artifact", "update", "there", "-l", "a=b", "--remove-label", "stage")
    assert changed["labels"] == {"a": "b"}
    assert changed["description"] == "first"
    assert shared("artifact", "rm", "there", code=0).stdout == b"there deleted\n"
    assert b"ARTIFACT_NOT_FOUND" in shared("artifact", "get", "there", code=1).stderr
    assert shared.json("artifact", "gc", "--dry-run")["done"] is True


def test_forms_and_mistakes(here: Here, folder: Path, tmp_path: Path) -> None:
    """Every form of the results; what is wrong is said, with the code that the help names."""
    here("artifact", "push", str(folder / "sub"), "--name", "forms", "-q")
    for form in ("table", "wide", "json", "yaml", "name"):
        for words in (("ls",), ("get", "forms"), ("files", "forms"), ("verify", "forms")):
            assert here("artifact", *words, "-o", form) or (words[0] == "verify")
        assert here("artifact", "push", str(folder / "sub"), "--name", "forms", "-o", form)
        assert here("artifact", "pull", "forms", str(tmp_path / "forms"), "-o", form)
        assert here("artifact", "gc", "--dry-run", "-o", form)
    assert json.loads(here("artifact", "ls", "--experiment", "none", "-o", "json")) == {
        "artifacts": []
    }
    for words, code in (
        (("push",), 2),
        (("push", str(tmp_path / "nothing")), 2),
        (("push", str(folder), "-l", "novalue"), 2),
        (("push", str(folder), "--name", "No"), 1),
        (("push", str(folder), "--name", "forms"), 1),
        (("pull", "forms"), 2),
        (("pull", "none", str(tmp_path / "x")), 1),
        (("pull", "none/output", str(tmp_path / "x")), 1),
        (("pull", "forms", str(tmp_path / "x"), "--path", "none"), 1),
        (("cat", "forms", "none"), 1),
        (("cat", "forms", "config.json", "--offset", "3"), 1),
        (("files", "none"), 1),
        (("rm",), 2),
        (("rm", "--all"), 2),
        (("rm", "none"), 1),
        (("update", "none", "-l", "a=b"), 1),
        (("verify", "none"), 1),
        (("ls", "--filter", "what"), 1),
    ):
        here("artifact", *words, code=code)
    here("artifact", "rm", "--filter", 'artifact_id = "forms"', "-y")
    assert b"forms" not in here("artifact", "ls", "-o", "name").split()


def test_progress_is_for_terminals(shared: Cli, tmp_path: Path) -> None:
    """How far, how fast, how long; and how to go on after Ctrl-C."""
    source = tmp_path / "large"
    with open(source, "wb") as file:
        for _ in range(300):
            file.write(os.urandom(MIB))
    words = ("artifact", "push", str(source), "--name", "shown")
    with Terminal(shared, *words) as terminal:
        terminal.reads(b"iB/s")
        terminal.interrupt()
        assert terminal.ends() == 130
        assert b"goes on from here" in terminal.seen
    with Terminal(shared, *words) as terminal:
        assert terminal.ends(40) == 0
        assert b"\r\nsubgrpc: 1 files, 300 MiB; " in terminal.seen
        assert b"300 MiB had to be sent" not in terminal.seen
    told = shared("artifact", "pull", "shown", str(tmp_path / "pulled"), code=0)
    assert b"\r" not in told.stdout + told.stderr
    assert (tmp_path / "pulled" / "large").read_bytes() == source.read_bytes()
    shared("artifact", "rm", "shown", code=0)


def test_names_are_completed(shared: Cli, folder: Path) -> None:
    """Behind Tab, the newest first."""
    for name in ("tab-one", "tab-two", "other"):
        shared("artifact", "push", str(folder / "sub"), "--name", name, code=0)

    def complete(line: str) -> list[str]:
        env: dict[str, Any] = {
            **shared.env,
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
            "_SUBGRPC_COMPLETE": "bash_complete",
        }
        done = shared(env=env, code=0)
        return [each.partition(",")[2] for each in done.stdout.decode().splitlines()]

    assert complete("subgrpc artifact pull tab") == ["tab-two", "tab-one"]
    assert complete("subgrpc artifact rm tab-one ta") == ["tab-two"]
    assert {"push", "pull"} <= set(complete("subgrpc artifact pu"))
    for name in ("tab-one", "tab-two", "other"):
        shared("artifact", "rm", name, code=0)


def begun(cli: Cli, word: str) -> bool:
    """Whether blobs of a push have come to the server, or a pull has made its hidden folder."""
    if word == "push":
        objects = cli.data / "artifacts" / "store" / "objects"
        return any(each.is_file() for each in objects.rglob("*"))
    return any(cli.folder.glob(".subgrpc-pull-*/files/*"))


@pytest.mark.thorough
@pytest.mark.timeout(180)
def test_transfers_outlive_a_server_that_is_killed(own: Cli, tmp_path: Path) -> None:
    """With -9, whatever it does: they go on with the next one, and nothing is lost."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(300):
        (source / f"{number}").write_bytes(os.urandom(5000))
    with open(source / "large", "wb") as file:
        for _ in range(250):
            file.write(os.urandom(MIB))
    own.up()
    port = own.port
    for word, *rest in (("push", str(source), "--name", "killed"), ("pull", "killed", "target")):
        running = own.start("artifact", word, *rest)
        until(partial(begun, own, word), f"{word} begun")
        time.sleep(0.1)  # at whatever it does then
        own.kill()
        own.up(port=port)
        told = running.communicate(timeout=90)
        assert running.returncode == 0, told
    own("artifact", "verify", "killed", code=0)
    assert content(own.folder / "target") == content(source)
