"""`subgrpc watch`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from subgrpc import names
from subgrpc.cli import complete, output
from subgrpc.cli.ctrlc import CtrlC
from subgrpc.cli.examples import examples
from subgrpc.cli.follow import note_loss
from subgrpc.cli.kinds import EXPERIMENTS
from subgrpc.cli.options import Connection, connection_options, full_name, output_option

if TYPE_CHECKING:
    from subgrpc.v1.experiment_service_pb2 import ExperimentChange


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
        show = _Printer(form)
        with changes, CtrlC(changes.close) as ctrl_c:
            for frame in changes:
                if frame.WhichOneof("frame") == "change":
                    show(frame.change)
                if ctrl_c.came:
                    break


class _Printer:
    """Prints changes; the columns of its table get wider when something needs it."""

    def __init__(self, form: str) -> None:
        self._form = form
        self._columns = EXPERIMENTS.shown(form)
        self._header = ["CHANGE", *(each.title for each in self._columns)]
        self._widths = [
            max(len(title), least)
            for title, least in zip(
                self._header, [8, *(each.least for each in self._columns)], strict=True
            )
        ]
        self._has_header = False

    def __call__(self, change: ExperimentChange) -> None:
        if self._form == "json":
            output.print_json_line(change)
        elif self._form == "yaml":
            output.print_yaml(change, one_of_many=True)
        elif self._form == "name":
            click.echo(EXPERIMENTS.name(change.experiment))
        else:
            self._row(change)
        # Who reads it through a pipe reads it now.
        sys.stdout.flush()

    def _row(self, change: ExperimentChange) -> None:
        from subgrpc.v1.experiment_service_pb2 import ChangeType

        word = output.enum_word(ChangeType.Name(change.type), "CHANGE_TYPE_")
        texts = (output.clean(each.text(change.experiment)) for each in self._columns)
        row = [word, *texts]
        self._widths = [max(w, output.width(t)) for w, t in zip(self._widths, row, strict=True)]
        if not self._has_header:
            self._has_header = True
            click.echo(output.table_line(self._header, self._header, self._widths))
        click.echo(output.table_line(self._header, row, self._widths))
