"""`subgrpc delete`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from subgrpc.cli import exitcodes, output, selection
from subgrpc.cli.examples import examples
from subgrpc.cli.options import Connection, connection_options, output_option
from subgrpc.errors import NotFound

if TYPE_CHECKING:
    from subgrpc.client import Client

_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")


@click.command(
    "delete",
    epilog=examples(
        "subgrpc delete my-run",
        "subgrpc delete --filter 'state = FAILED' --yes",
        "subgrpc delete --all --force",
    ),
)
@selection.selection_options
@click.option("--force", is_flag=True, help="Also what has not ended: it is stopped first.")
@click.option("--no-wait", is_flag=True, help="Do not wait until they are gone.")
@output_option
@connection_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    connection: Connection,
    name: tuple[str, ...],
    everything: bool,
    filter_: str | None,
    yes: bool,
    force: bool,
    no_wait: bool,
    form: str,
) -> int:
    """Delete experiments with their logs and history, for good.

    Waits until their cluster has cleaned up and the names are free again. --all and --filter take
    those that have ended (with --force: all), and ask first; without a terminal they need --yes.

    Exit codes: 0 done, 1 not done for at least one (not found, still running, ...), or not
    confirmed, 2 wrong usage.
    """
    selection.check_usage(ctx, name, everything, filter_, yes)
    with connection.open() as client:
        wanted = selection.full_names(name) if name else _matching(client, filter_, force)
        if not wanted:
            output.note("nothing to delete")
        elif not (name or yes or selection.confirmed("Delete for good", wanted)):
            return exitcodes.FAILED
        done, code = selection.each(
            wanted, lambda each: client.delete_experiment(each, force=force)
        )
        if not no_wait:
            for experiment in done:
                # Its end is that it is not found any more.
                with contextlib.suppress(NotFound):
                    client.wait(experiment.name)
    word = "DELETING" if no_wait else "deleted"
    selection.print_done(form, done, one=len(name) == 1, word=lambda _: word)
    return code


def _matching(client: Client, filter_: str | None, force: bool) -> list[str]:
    wanted, running = [], 0
    for each in client.list_experiments(filter=filter_ or "", page_size=1000):
        state = output.state_word(each)
        if state in _ENDED or (force and state != "DELETING"):
            wanted.append(each.name)
        elif state != "DELETING":
            running += 1
    if running:
        output.note(f"{running} that have not ended are left alone; --force takes them too")
    return wanted
