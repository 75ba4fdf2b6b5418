"""`subgrpc cancel`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from subgrpc.cli import exitcodes, output, selection
from subgrpc.cli.defaults import ACTIVE
from subgrpc.cli.examples import examples
from subgrpc.cli.options import Connection, connection_options, output_option

if TYPE_CHECKING:
    from subgrpc.client import Client

_STATES = ("QUEUED", "STARTING", "RUNNING")


@click.command(
    "cancel",
    epilog=examples(
        "subgrpc cancel my-run other-run", "subgrpc cancel --filter 'labels.sweep = lr' --yes"
    ),
)
@selection.selection_options
@click.option("-m", "--message", default="", help="Why, for the experiment's history.")
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
    message: str,
    form: str,
) -> int:
    """Stop experiments: SIGTERM, their grace period, SIGKILL.

    Returns at once; an experiment is CANCELLED when nothing of it runs any more (see subgrpc wait).
    One that has ended stays as it is. --all and --filter take those that have not ended, and ask
    first; without a terminal they need --yes.

    Exit codes: 0 done, 1 not done for at least one (not found, ...), or not confirmed, 2 wrong
    usage.
    """
    selection.check_usage(ctx, name, everything, filter_, yes)
    with connection.open() as client:
        wanted = selection.full_names(name) if name else _active(client, filter_)
        if not wanted:
            output.note("no experiment that has not ended" + (" matches" if filter_ else ""))
        elif not (name or yes or selection.confirmed("Cancel", wanted)):
            return exitcodes.FAILED
        done, code = selection.each(
            wanted, lambda each: client.cancel_experiment(each, message=message)
        )
    selection.print_done(form, done, one=len(name) == 1, word=output.state_word)
    return code


def _active(client: Client, filter_: str | None) -> list[str]:
    found = client.list_experiments(filter=filter_ or ACTIVE, page_size=1000)
    return [each.name for each in found if output.state_word(each) in _STATES]
