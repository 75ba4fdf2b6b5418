"""`subgrpc clusters`."""

from __future__ import annotations

import click

from subgrpc.cli import complete
from subgrpc.cli.examples import examples
from subgrpc.cli.kinds import CLUSTERS
from subgrpc.cli.options import Connection, connection_options, output_option


@click.command("clusters", epilog=examples("subgrpc clusters", "subgrpc clusters local -o json"))
@click.argument("name", nargs=-1, shell_complete=complete.clusters)
@output_option
@connection_options
def command(connection: Connection, name: tuple[str, ...], form: str) -> None:
    """List the places where experiments run: health, what is used, what there is.

    With a NAME only these; -o json also shows the options that a spec may give to their driver.

    Exit codes: 0 done, 1 could not be done (not found, ...), 2 wrong usage.
    """
    with connection.open() as client:
        wanted = [client.get_cluster(each) for each in name]
        CLUSTERS.print_list(form, wanted if name else list(client.list_clusters()))
