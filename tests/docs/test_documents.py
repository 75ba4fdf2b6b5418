"""The documents describe what is there: their links, targets, commands, options and specs work."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import click
import pytest

from subgrpc.cli.explanations import PAGE
from subgrpc.cli.main import cli
from subgrpc.spec import parse_spec

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    PAGE,
]
OPERATIONS = ROOT / "docs" / "operations.md"
ENDS = ("--", "|", "||", "&&", ">")
"""Words behind which no option of ours stands."""

by_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def blocks(document: Path, language: str) -> list[str]:
    """The fenced code of one language in a document."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)


def commands(document: Path) -> Iterator[list[str]]:
    """The words of every `subgrpc …` line in a document's shell code."""
    for block in blocks(document, "sh"):
        for line in block.splitlines():
            if line.startswith("subgrpc "):
                yield shlex.split(line, comments=True)


@by_document
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link names a file of the repository."""
    targets = re.findall(r"\]\((?![a-z]+:|#)([^)#]+)", document.read_text())
    assert [each for each in targets if not (document.parent / each).exists()] == []


@by_document
def test_make_targets_exist(document: Path) -> None:
    """Every `make TARGET` in code is one of the Makefile's."""
    known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    code = "\n".join(
        [*blocks(document, "sh"), *re.findall(r"`(make [^`]*)`", document.read_text())]
    )
    wanted = re.findall(r"^make ([a-z-]+)", code, re.MULTILINE)
    assert set(wanted) <= set(known)


@by_document
def test_commands_exist(document: Path) -> None:
    """Every `subgrpc COMMAND` in code is a command, with the options that it is given."""
    for words in commands(document):
        command = cli.get_command(click.Context(cli), words[1])
        if isinstance(command, click.Group) and len(words) > 2:
            command = command.get_command(click.Context(command), words[2])
        assert command is not None, words
        known = {option for parameter in command.params for option in parameter.opts}
        given = takewhile(lambda word: word not in ENDS, words[2:])
        assert {each for each in given if re.match(r"--?[a-z]", each)} <= known, words


@by_document
def test_specs_can_be_run(document: Path) -> None:
    """Every YAML block is a spec."""
    for block in blocks(document, "yaml"):
        assert parse_spec(block).experiment.spec.task_groups


def test_every_option_of_the_server_is_explained() -> None:
    """docs/operations.md knows each option of `subgrpc up`."""
    command = cli.get_command(click.Context(cli), "up")
    assert command is not None
    shown = [each for each in command.params if not getattr(each, "hidden", False)]
    options = {each for parameter in shown for each in parameter.opts if each.startswith("--")}
    text = OPERATIONS.read_text()
    assert sorted(option for option in options if option not in text) == []
