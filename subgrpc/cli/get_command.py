"""`subgrpc get`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from subgrpc.cli import output
from subgrpc.cli.options import (
    Connection,
    connection_options,
    full_name,
    output_option,
)

if TYPE_CHECKING:
    from subgrpc.v1.experiment_service_pb2 import Experiment, Task


@click.command("get")
@click.argument("name")
@output_option
@connection_options
def command(connection: Connection, name: str, as_json: bool) -> None:
    """Show one experiment: its state and why, its tasks, its times.

    NAME is the experiment's id or its full name, teams/TEAM/experiments/ID.

    Exit codes: 0 done, 1 could not be done (not found, ...), 2 wrong usage.
    """
    with connection.open() as client:
        experiment = client.get_experiment(full_name(name))
        if as_json:
            output.print_json(experiment)
            return
        tasks = list(client.list_tasks(experiment.name))
    output.print_facts(_facts(experiment))
    if tasks:
        click.echo()
        output.print_table(["TASK", "STATE", "REASON", "EXIT", "NODE"], [_row(t) for t in tasks])


def _facts(experiment: Experiment) -> list[tuple[str, str]]:
    labels = (f"{key}={value}" for key, value in sorted(experiment.labels.items()))
    return [
        ("Name", experiment.name),
        ("Uid", experiment.uid),
        ("Display name", experiment.display_name),
        ("Description", experiment.spec.description),
        ("Labels", ", ".join(labels)),
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


def _row(task: Task) -> list[str]:
    from subgrpc.v1.types_pb2 import TaskState

    status = task.status
    code = str(status.exit_code) if status.HasField("exit_code") else ""
    return [
        f"{status.role}-{status.index}",
        output.enum_word(TaskState.Name(status.state), "TASK_STATE_"),
        status.reason,
        f"signal {status.signal}" if status.signal else code,
        status.node,
    ]
