"""`subgrpc watch`."""

from __future__ import annotations

import click

from subgrpc import names
from subgrpc.cli import complete
from subgrpc.cli.changes import ChangePrinter
from subgrpc.cli.ctrlc import CtrlC
from subgrpc.cli.examples import examples
from subgrpc.cli.follow import note_loss
from subgrpc.cli.kinds import EXPERIMENTS
from subgrpc.cli.options import Connection, connection_options, full_name, output_option


@click.command(
    "watch",
    epilog=examples(
        "subgrpc watch my-run", "subgrpc watch --filter 'labels.sweep = lr' --until-ended"
    ),
)
@click.argument("name", nargs=-1, shell_complete=complete.experiments)
@click.option(
    "--filter",
    "filter_",
    default="",
    metavar="FILTER",
    help="Only those that match; as in subgrpc list.",
)
@click.option("--until-ended", is_flag=True, help="End once all that matched have ended.")
@output_option
@connection_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    connection: Connection,
    name: tuple[str, ...],
    filter_: str,
    until_ended: bool,
    form: str,
) -> None:
    """Print experiments as they are now, then every change in the order in which it happened.

    With NAMEs it ends once these have ended, else with Ctrl-C. Server restarts and lost
    connections are waited over; no change is lost or doubled. With -o json every change is one
    line of JSON, with -o yaml one document.

    Exit codes: 0 done, 1 could not be done (not found, ...), 2 wrong usage, 130 interrupted.
    """
    if name and filter_:
        raise click.UsageError("Give names or --filter, not both.", ctx)
    with connection.open() as client:
        parent = names.team_name(names.DEFAULT_TEAM)
        if name:
            # What is not there would never be seen: say so now.
            found = [client.get_experiment(full_name(each)) for each in name]
            teams = {names.parse_experiment(each.name).team for each in found}
            if len(teams) > 1:
                raise click.UsageError("The experiments are of one team.", ctx)
            parent = names.team_name(teams.pop())
            filter_ = " OR ".join(f'uid = "{each.uid}"' for each in found)
        else:
            # A stream is patient with a server that cannot be reached: say so at the start.
            next(client.list_experiments(filter=filter_, page_size=1), None)
        changes = client.watch(
            parent=parent, filter=filter_, until_terminal=until_ended or bool(name), **note_loss()
        )
        show = ChangePrinter(form, EXPERIMENTS, lambda change: change.experiment)
        with changes, CtrlC(changes.close) as ctrl_c:
            for frame in changes:
                if frame.WhichOneof("frame") == "change":
                    show(frame.change)
                if ctrl_c.came:
                    break
