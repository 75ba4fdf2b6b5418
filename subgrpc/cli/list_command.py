"""`subgrpc list`."""

from __future__ import annotations

import itertools

import click

from subgrpc.cli import output
from subgrpc.cli.examples import examples
from subgrpc.cli.kinds import EXPERIMENTS
from subgrpc.cli.options import Connection, connection_options, output_option


@click.command(
    "list",
    epilog=examples(
        "subgrpc list --filter 'state = RUNNING AND labels.team = vision'",
        "subgrpc list --order-by 'end_time desc' --limit 10 -o wide",
        "subgrpc list --limit 0 -o name",
    ),
)
@click.option(
    "--filter",
    "filter_",
    default="",
    metavar="FILTER",
    help="Only those that match, such as: state = RUNNING AND labels.team = vision",
)
@click.option(
    "--order-by",
    default="",
    metavar="FIELD",
    help='create_time, update_time, end_time or experiment_id, with " desc" for descending.  '
    "[default: create_time desc]",
)
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=50,
    show_default=True,
    metavar="N",
    help="At most so many; 0: all.",
)
@output_option
@connection_options
def command(connection: Connection, filter_: str, order_by: str, limit: int, form: str) -> None:
    """List experiments, newest first. -o wide shows more of each.

    Exit codes: 0 done, 1 could not be done, 2 wrong usage.
    """
    with connection.open() as client:
        found = client.list_experiments(
            filter=filter_, order_by=order_by, page_size=min(limit + 1, 1000) if limit else 1000
        )
        experiments = list(itertools.islice(found, limit + 1 if limit else None))
    more = bool(limit) and len(experiments) > limit
    experiments = experiments[:limit] if limit else experiments
    EXPERIMENTS.print_list(form, experiments)
    if not experiments:
        output.note("no experiment" + (" matches" if filter_ else "s yet: subgrpc run -- COMMAND"))
    if more:
        output.note(f"there are more than {limit}: see --limit")
