"""`subgrpc tasks`."""

from __future__ import annotations

import click

from subgrpc import names
from subgrpc.cli import output
from subgrpc.cli.examples import examples
from subgrpc.cli.kinds import TASKS
from subgrpc.cli.options import (
    Connection,
    connection_options,
    full_name,
    name_argument,
    output_option,
)


@click.command(
    "tasks",
    epilog=examples(
        "subgrpc tasks my-run", "subgrpc tasks my-run --all-attempts --filter 'state = FAILED'"
    ),
)
@name_argument
@click.option(
    "--attempt", type=click.IntRange(1), metavar="N", help="Of this attempt; by default the latest."
)
@click.option("--all-attempts", is_flag=True, help="Of every attempt.")
@click.option(
    "--filter",
    "filter_",
    default="",
    metavar="FILTER",
    help="Only those that match, such as: state = FAILED AND role = worker",
)
@output_option
@connection_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    connection: Connection,
    name: str,
    attempt: int | None,
    all_attempts: bool,
    filter_: str,
    form: str,
) -> None:
    """List an experiment's tasks: state, exit code, time, machine.

    Exit codes: 0 done, 1 could not be done (not found, ...), 2 wrong usage.
    """
    if attempt and all_attempts:
        raise click.UsageError("Give --attempt or --all-attempts, not both.", ctx)
    parent = full_name(name)
    if all_attempts:
        parent = f"{parent}/attempts/-"
    elif attempt:
        parent = names.attempt_name(parent, attempt)
    with connection.open() as client:
        tasks = list(client.list_tasks(parent, filter=filter_))
    TASKS.print_list(form, tasks)
    if not tasks:
        output.note("no task matches" if filter_ else f"no tasks yet: subgrpc get {name}")
