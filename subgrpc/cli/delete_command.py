"""`subgrpc delete`."""

from __future__ import annotations

import contextlib

import click

from subgrpc.cli import output
from subgrpc.cli.options import (
    Connection,
    connection_options,
    full_name,
    output_option,
    short_name,
)
from subgrpc.errors import NotFound


@click.command("delete")
@click.argument("name")
@click.option("--force", is_flag=True, help="Also if it has not ended: it is stopped first.")
@click.option("--no-wait", is_flag=True, help="Do not wait until it is gone.")
@output_option
@connection_options
def command(connection: Connection, name: str, force: bool, no_wait: bool, as_json: bool) -> None:
    """Delete an experiment with its logs and history, for good.

    Waits until its cluster has cleaned up and the name is free again.

    Exit codes: 0 done, 1 could not be done (not found, still running, ...), 2 wrong usage.
    """
    with connection.open() as client:
        experiment = client.delete_experiment(full_name(name), force=force)
        if not no_wait:
            # Its end is that it is not found any more.
            with contextlib.suppress(NotFound):
                client.wait(full_name(name))
    if as_json:
        output.print_json(experiment)
    else:
        click.echo(f"{short_name(full_name(name))} {'DELETING' if no_wait else 'deleted'}")
