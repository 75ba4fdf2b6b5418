"""`subgrpc errors`."""

from __future__ import annotations

import difflib
import textwrap

import click
from click.shell_completion import CompletionItem

from subgrpc.cli import output
from subgrpc.cli.explanations import Explanation, explanations, find
from subgrpc.cli.kinds import Column, Kind
from subgrpc.cli.options import output_option

_EPILOG = """\b
Examples:
  subgrpc errors UNKNOWN_CLUSTER
  subgrpc errors                      # all of them
  subgrpc errors OutOfMemory -o json

\b
Exit codes:
  0  done
  2  the command line is wrong, or there is no such reason
"""
_WIDTH = 100
_REASONS: Kind[Explanation] = Kind(
    "errors",
    lambda each: each.reason,
    (
        Column("REASON", lambda each: each.reason),
        Column("MEANING", lambda each: each.meaning),
        Column("RETRY", lambda each: each.retry, wide=True),
    ),
)


def _offers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    wanted = incomplete.lower()
    return [
        CompletionItem(each.reason, help=each.meaning)
        for each in explanations()
        if each.reason.lower().startswith(wanted)
    ]


@click.command("errors", epilog=_EPILOG)
@click.argument("reason", required=False, shell_complete=_offers)
@output_option
@click.pass_context
def command(ctx: click.Context, /, reason: str | None, form: str) -> None:
    """Explain the REASON of an error or of a failed experiment; without one, list them all.

    Asks no server: the text is that of the documentation's page on errors.
    """
    if reason is None:
        if form in ("json", "yaml"):
            output.print_document(
                form, {"errors": [each._asdict() for each in explanations()]}, name=""
            )
        else:
            _REASONS.print_list(form, explanations())
        return
    found = find(reason)
    if found is None:
        raise click.UsageError(_unknown(reason), ctx)
    output.print_document(form, found._asdict(), name=found.reason, text=lambda: _print(found))


def _unknown(reason: str) -> str:
    known = [each.reason for each in explanations()]
    close = difflib.get_close_matches(reason.upper(), known, 1)
    hint = f"Did you mean {close[0]}?" if close else "`subgrpc errors` lists those that there are."
    return f"No such reason {output.clean(reason)!r}. {hint}"


def _print(entry: Explanation) -> None:
    click.echo(f"{entry.reason}\n")
    click.echo(textwrap.fill(entry.meaning, _WIDTH))
    for title, text in (("Cause", entry.cause), ("Do", entry.action), ("Retry", entry.retry)):
        click.echo(
            textwrap.fill(
                text, _WIDTH, initial_indent=f"{title + ':':<7}", subsequent_indent=" " * 7
            )
        )
