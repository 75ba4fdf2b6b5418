"""The page of the command line: every command with its options, defaults, examples, exit codes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click
from docs_text import cell, paragraphs, table

from subgrpc.cli.main import cli

_INTRODUCTION = """# Commands

Generated from the commands themselves; `subgrpc COMMAND --help` says the same. What they share is
told in [The command line](cli.md).
"""
_COMMON = ("--address", "--context", "--token", "--tls-ca", "--tls-cert", "--tls-key")
"""Options that most commands have, told once."""


def page() -> str:
    """The whole page."""
    # The defaults of `get_help_record` depend on no terminal, but on the context's settings.
    root = click.Context(cli, info_name="subgrpc", **cli.context_settings)
    parts = [_INTRODUCTION, _body(cli, root), _shared(root)]
    return "\n".join([*parts, *_commands(cli, root)])


def _commands(group: click.Group, parent: click.Context) -> Iterator[str]:
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None, name
        context = click.Context(command, info_name=name, parent=parent)
        level = "##" if parent.parent is None else "###"
        yield f"{level} {context.command_path} {{: #{context.command_path.replace(' ', '-')} }}\n"
        yield _body(command, context)
        if isinstance(command, click.Group):
            yield from _commands(command, context)


def _body(command: click.Command, context: click.Context) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    options = dict(_options(command, context))
    connects = set(_COMMON) <= options.keys()
    rows = [row for name, row in options.items() if not (connects and name in _COMMON)]
    note = "Also [the options that say which server](#which-server).\n"
    return "\n".join(
        [
            f"```text\n{usage}\n```\n",
            _told(command.help or ""),
            table(("option", "meaning"), rows),
            *([note] if connects else []),
            _told(command.epilog or ""),
        ]
    )


def _shared(root: click.Context) -> str:
    command = cli.get_command(root, "list")
    assert command is not None
    options = dict(_options(command, click.Context(command, info_name="list", parent=root)))
    rows = [options[name] for name in _COMMON]
    return f"## Which server {{: #which-server }}\n\n{table(('option', 'meaning'), rows)}"


def _options(
    command: click.Command, context: click.Context
) -> Iterator[tuple[str, tuple[str, str]]]:
    """The long name of each option, and its row: all names, help with default and variable."""
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if record is None or not isinstance(option, click.Option) or "--help" in option.opts:
            continue
        names, text = record
        default = option.to_info_dict()["default"]
        if isinstance(default, str | int | float) and default and "default:" not in text:
            text = f"{text}  [default: {default}]"
        yield option.opts[-1], (f"`{names}`", cell(text))


def _told(text: str) -> str:
    """Help as Markdown: what click must not wrap is shown as it is."""
    blocks = re.split(r"\n\s*\n", inspect.cleandoc(text.split("\f")[0]))
    return "\n".join(
        f"```text\n{block[1:].strip(chr(10))}\n```\n"
        if block.startswith("\b")
        else f"{paragraphs(block)}\n"
        for block in blocks
        if block
    )
