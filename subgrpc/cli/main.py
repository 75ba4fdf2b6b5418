"""The entry point: finds the command, runs it, and turns every error into words and a code.

A command's module is imported only when that command runs, so that `--help` takes no time. Exit
codes stand in `subgrpc.cli.exitcodes`.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem, shell_complete

from subgrpc import __version__
from subgrpc.cli import exitcodes
from subgrpc.errors import SubgrpcError

_COMMANDS = {
    "init": "Write a commented experiment.yaml and a train.py to start from.",
    "up": "Start a server.",
    "down": "Stop a server; running experiments go on.",
    "status": "Show the server, its clusters and what runs.",
    "run": "Run a spec or a command and follow its output.",
    "validate": "Say everything that is wrong with specs.",
    "schema": "Print the JSON Schema of specs, for editors.",
    "list": "List experiments.",
    "get": "Show one experiment.",
    "tasks": "List an experiment's tasks.",
    "events": "List an experiment's history.",
    "logs": "Print or follow an experiment's output.",
    "watch": "Print changes of experiments as they happen.",
    "wait": "Wait for an experiment's end or state; return its exit code.",
    "cancel": "Stop experiments.",
    "delete": "Delete experiments with their logs.",
    "artifact": "Push, pull and manage artifacts: sets of files that are kept.",
    "model": "Keep models: versions, stages, aliases, history.",
    "clusters": "List the places where experiments run.",
    "config": "Name servers, and choose the current one.",
    "admin": "Back up, restore and check a server's data.",
    "errors": "Explain the reason of an error.",
    "completion": "Print the script that completes commands in your shell.",
    "version": "Print the versions of this command and its server.",
}
"""Every command, in the order of a newcomer's need. Its module has its name, and a `command`."""
_COMPLETION = "_SUBGRPC_COMPLETE"
"""The variable in which the shell's script asks for what can follow."""


class _Commands(click.Group):
    """The commands, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        # `list` and the like would hide builtins as names of modules.
        module = importlib.import_module(f"subgrpc.cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands and options, without importing what is behind them."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=text)
            for name, text in _COMMANDS.items()
            if name.startswith(incomplete)
        ]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        if name not in _COMMANDS and not name.startswith("-"):
            close = difflib.get_close_matches(name, _COMMANDS, 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"No such command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start here:  subgrpc run -- echo hello",
)
@click.version_option(__version__, "-V", "--version", message="subgrpc %(version)s")
def cli() -> None:
    """Run machine-learning experiments through a subgrpc server.

    Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 could not be done,
    2 wrong usage, 130 interrupted with Ctrl-C, 141 the reader of the output went away; run and wait
    return the experiment's own (see their --help).
    """


def main() -> NoReturn:
    """Runs the command line and ends the process with its exit code."""
    # gRPC's core writes lines of its own to stderr about what we report ourselves.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    _open_standard_streams()
    asked = os.environ.get(_COMPLETION)
    if asked:
        sys.exit(shell_complete(cli, {}, "subgrpc", _COMPLETION, asked))
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()
        code = code or exitcodes.CLOSED_PIPE
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Runs one command line; returns its exit code."""
    own_failure = exitcodes.FAILED
    try:
        with cli.make_context("subgrpc", list(arguments)) as context:
            if arguments and arguments[0] in ("run", "wait"):
                own_failure = exitcodes.OWN_FAILURE
            return _code(cli.invoke(context))
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted")
        return exitcodes.INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return exitcodes.CLOSED_PIPE
    except SubgrpcError as error:
        from subgrpc.cli.complaints import complaint

        _say(complaint(error))
        return own_failure
    except UnicodeEncodeError as error:
        # An argument or a path that is not UTF-8: protobuf's strings cannot hold it.
        _say(f"error: not UTF-8: {error.object[:100]!r}")
        return own_failure
    except OSError as error:
        # A full disk, a folder without permission: the user's world, not a bug of ours.
        _say(f"error: {error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        return own_failure


def _code(result: Any) -> int:
    return result if isinstance(result, int) else exitcodes.OK


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        click.echo(f"subgrpc: {text}", err=True)


def _open_standard_streams() -> None:
    """Makes the standard streams what every command may rely on.

    Where a caller closed one (`>&-`) the interpreter has None, and a connection may get its number:
    nothing is put there. With PYTHONUNBUFFERED it has a raw file, which may write only a part of
    what it is given, and tells nobody: that gets a buffer. And a terminal that cannot show a
    character must not end a command.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            if isinstance(stream.buffer, io.RawIOBase):
                encoding = stream.encoding
                whole = io.BufferedWriter(stream.detach())
                stream = io.TextIOWrapper(whole, encoding, line_buffering=True)
                setattr(sys, name, stream)
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Points stdout at nothing, so that the interpreter's last flush does not fail again."""
    null = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):
        os.dup2(null, sys.stdout.fileno())
    os.close(null)


if __name__ == "__main__":
    main()
