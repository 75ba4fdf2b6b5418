"""`subgrpc cancel`."""

from __future__ import annotations

import click

from subgrpc.cli import output
from subgrpc.cli.options import (
    Connection,
    connection_options,
    full_name,
    output_option,
    short_name,
)


@click.command("cancel")
@click.argument("name")
@click.option("-m", "--message", default="", help="Why, for the experiment's history.")
@output_option
@connection_options
def command(connection: Connection, name: str, message: str, as_json: bool) -> None:
    """Stop an experiment: SIGTERM, its grace period, SIGKILL.

    Returns at once; it is CANCELLED when nothing of it runs any more (see subgrpc wait). One that
    has ended stays as it is.

    Exit codes: 0 done, 1 could not be done (not found, ...), 2 wrong usage.
    """
    with connection.open() as client:
        experiment = client.cancel_experiment(full_name(name), message=message)
    if as_json:
        output.print_json(experiment)
    else:
        click.echo(f"{short_name(experiment.name)} {output.state_word(experiment)}")
