"""The site is complete, leads nowhere wrong, and needs no network to be built or read."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import click
import pytest
from google.protobuf.descriptor import Descriptor, FileDescriptor

from subgrpc.cli.explanations import explanations
from subgrpc.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "api": [
        f"subgrpc.v1.{name}_pb2"
        for name in (
            *("cluster_service", "experiment_service", "model_registry_service"),
            *("spec", "types"),
        )
    ],
    "api-driver": [f"subgrpc.driver.v1.{name}_pb2" for name in ("driver_service", "workload")],
    "api-options": ["subgrpc.options.v1.rules_pb2"],
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built where every connection fails."""
    out = tmp_path_factory.mktemp("docs")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:1")
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "make_docs.py", out],
        env={**os.environ, **nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return out / "site"


def text_of(page: Path) -> str:
    """What a reader sees of a page."""
    return " ".join(unescape(re.sub(r"<[^>]*>", "", page.read_text())).split())


def anchors(page: Path) -> set[str]:
    """Where links into a page can lead."""
    return set(re.findall(r'\bid="([^"]+)"', page.read_text()))


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    """No style, script, font or picture of another host: the site works without a network."""
    pages = [*site.rglob("*.html")]
    assert len(pages) > 15
    for page in pages:
        tags = re.findall(r"<(?:link|script|img|iframe|source)\b[^>]*>", page.read_text())
        assert [each for each in tags if re.search(r"""["'](?:https?:)?//""", each)] == [], page
    for style in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text()) == []


def test_links_lead_somewhere(site: Path) -> None:
    """To a page, and to an anchor that is in it: also those that were generated."""
    for page in site.rglob("index.html"):
        for link in re.findall(r'<a [^>]*href="([^"]+)"', page.read_text()):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), (page, link)
            assert not anchor or unescape(anchor) in anchors(target), (page, link)


def test_tables_and_lists_are_that(site: Path) -> None:
    """Not lines of text, as they are where an empty line is missing or one too many."""
    for page in site.rglob("index.html"):
        paragraphs = re.findall(r"<p>(.*?)</p>", page.read_text(), re.DOTALL)
        assert [each for each in paragraphs if re.search(r"^(\||[-*] )", each, re.M)] == [], page


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def test_every_command_is_explained(site: Path) -> None:
    """With its options, their variables and defaults, and its exit codes."""
    page = site / "commands" / "index.html"
    known, text = anchors(page), text_of(page)
    for path, command in commands(cli, "subgrpc"):
        assert path.replace(" ", "-") in known
        section = text.partition(f"{path}¶")[2]
        section = re.split(r"subgrpc [a-z ]+¶", section)[0]
        assert "Exit codes:" in section, path
        for parameter in command.params:
            if not isinstance(parameter, click.Option) or parameter.hidden:
                continue
            shared = "the options that say which server" in section
            where = text if shared else section
            assert parameter.opts[-1] in where, (path, parameter.opts)
            if parameter.show_default:
                assert f"[default: {parameter.default}" in section, (path, parameter.opts)


def names_of(message: Descriptor) -> Iterator[str]:
    """The anchors of a message and of what is in it."""
    if not message.GetOptions().map_entry:
        yield message.full_name
        yield from (each.full_name for each in message.enum_types)
        for nested in message.nested_types:
            yield from names_of(nested)


@pytest.mark.parametrize("page", FILES)
def test_every_part_of_the_api_is_explained(site: Path, page: str) -> None:
    """Services, methods, messages, fields, enum values, and the rules of fields."""
    path = site / page / "index.html"
    known, text = anchors(path), text_of(path)
    for name in FILES[page]:
        file: FileDescriptor = importlib.import_module(name).DESCRIPTOR
        for service in file.services_by_name.values():
            assert {service.full_name, *(each.full_name for each in service.methods)} <= known
        for message in file.message_types_by_name.values():
            assert set(names_of(message)) <= known
            assert [each.name for each in message.fields if each.name not in text] == []
        for enum in file.enum_types_by_name.values():
            assert enum.full_name in known
            assert [each.name for each in enum.values if each.name not in text] == []
    if page == "api":
        assert "Rules: required, of the form clusters/*." in text
        assert "one of frame" in text
        assert "GET /v1/{name=teams/*/experiments/*}" in text


def test_every_error_has_its_place(site: Path) -> None:
    """`errors/#reason`, which statuses and people link to, is there for every reason."""
    known = anchors(site / "errors" / "index.html")
    assert {each.reason.lower() for each in explanations()} <= known
