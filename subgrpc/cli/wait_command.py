"""`subgrpc wait`."""

from __future__ import annotations

import click

from subgrpc.cli import exitcodes, output
from subgrpc.cli.options import (
    Connection,
    connection_options,
    full_name,
    output_option,
    short_name,
)
from subgrpc.cli.times import SPAN
from subgrpc.errors import SubgrpcError, Unavailable


@click.command("wait", epilog=exitcodes.EXPERIMENT_HELP)
@click.argument("name")
@click.option("--timeout", type=SPAN, metavar="SPAN", help="Wait no longer than this: 90s, 5m, 2h.")
@output_option
@connection_options
def command(connection: Connection, name: str, timeout: float | None, as_json: bool) -> int:
    """Wait until an experiment has ended, and return its exit code.

    Server restarts and lost connections are waited over.
    """
    from subgrpc.client.statuses import DEADLINE_EXCEEDED

    def lost(error: SubgrpcError) -> None:
        output.note(f"{error.message}; trying again")

    with connection.open() as client:
        try:
            experiment = client.wait(
                full_name(name),
                timeout=timeout,
                on_loss=lost,
                on_back=lambda: output.note("connected again"),
            )
        except Unavailable as error:
            if timeout is None or error.reason != DEADLINE_EXCEEDED:
                raise
            output.note(f"{error.message}; it goes on")
            return exitcodes.TIMEOUT
    if as_json:
        output.print_json(experiment)
    else:
        click.echo(
            f"{short_name(experiment.name)} {output.state_word(experiment)} "
            f"{output.clean(experiment.message)}".rstrip()
        )
    return exitcodes.of_experiment(experiment)
