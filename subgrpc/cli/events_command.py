"""`subgrpc events`."""

from __future__ import annotations

import click

from subgrpc.cli.examples import examples
from subgrpc.cli.kinds import EVENTS
from subgrpc.cli.options import (
    Connection,
    connection_options,
    full_name,
    name_argument,
    output_option,
)


@click.command("events", epilog=examples("subgrpc events my-run"))
@name_argument
@output_option
@connection_options
def command(connection: Connection, name: str, form: str) -> None:
    """List an experiment's history, oldest first: what happened, when, and why.

    Exit codes: 0 done, 1 could not be done (not found, ...), 2 wrong usage.
    """
    with connection.open() as client:
        EVENTS.print_list(form, list(client.list_events(full_name(name))))
