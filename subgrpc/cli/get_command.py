"""`subgrpc get`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from subgrpc.cli import output
from subgrpc.cli.advice import next_step
from subgrpc.cli.examples import examples
from subgrpc.cli.kinds import INPUTS, OUTPUTS, TASKS, labels
from subgrpc.cli.options import (
    Connection,
    connection_options,
    full_name,
    name_argument,
    output_option,
    short_name,
)

if TYPE_CHECKING:
    from subgrpc.v1.experiment_service_pb2 import Experiment


@click.command("get", epilog=examples("subgrpc get my-run", "subgrpc get my-run -o json"))
@name_argument
@output_option
@connection_options
def command(connection: Connection, name: str, form: str) -> None:
    """Show one experiment: its state and why, its tasks, inputs, outputs and times.

    NAME is the experiment's id or its full name, teams/TEAM/experiments/ID. What to type next, if
    it waits or has failed, is said on stderr.

    Exit codes: 0 done, 1 could not be done (not found, ...), 2 wrong usage.
    """
    with connection.open() as client:
        experiment = client.get_experiment(full_name(name))
        if form not in ("table", "wide"):
            output.print_document(form, experiment, name=short_name(experiment.name))
            return
        tasks = list(client.list_tasks(experiment.name))
    output.print_facts(_facts(experiment))
    if tasks:
        click.echo()
        TASKS.print_list(form, tasks)
    if experiment.inputs:
        click.echo()
        INPUTS.print_list(form, experiment.inputs)
    if experiment.outputs:
        click.echo()
        OUTPUTS.print_list(form, experiment.outputs)
    step = next_step(experiment)
    if step:
        output.note(step)


def _facts(experiment: Experiment) -> list[tuple[str, str]]:
    return [
        ("Name", experiment.name),
        ("Uid", experiment.uid),
        ("Display name", experiment.display_name),
        ("Description", experiment.spec.description),
        ("Labels", labels(experiment)),
        ("State", output.state_word(experiment)),
        ("Reason", experiment.reason),
        ("Message", experiment.message),
        ("First failure", experiment.first_failure.task),
        ("Cluster", experiment.cluster.removeprefix("clusters/")),
        ("Attempt", str(experiment.attempt) if experiment.attempt else ""),
        ("Creator", experiment.creator),
        ("Created", output.when(experiment.create_time)),
        ("Started", output.when(experiment.start_time)),
        ("Ended", output.when(experiment.end_time)),
        ("Took", output.took(experiment)),
    ]
