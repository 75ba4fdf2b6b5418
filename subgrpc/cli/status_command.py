"""`subgrpc status`."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from subgrpc.cli import exitcodes, output
from subgrpc.cli.defaults import ACTIVE
from subgrpc.cli.examples import examples
from subgrpc.cli.kinds import CLUSTERS
from subgrpc.cli.options import Connection, connection_options, output_option
from subgrpc.errors import Unavailable

if TYPE_CHECKING:
    from subgrpc.client import Client

_MOST = 10_000


@click.command("status", epilog=examples("subgrpc status", "subgrpc status -o json"))
@output_option
@connection_options
def command(connection: Connection, form: str) -> int:
    """Show whether the server can be reached, its version, its clusters, and what runs.

    Exit codes: 0 it can be reached, 3 no server answers, 1 it refused to answer, 2 wrong usage.
    """
    from subgrpc.client.statuses import SERVER_UNREACHABLE

    with connection.open() as client:
        try:
            clusters = list(client.list_clusters())
        except Unavailable as error:
            if error.reason != SERVER_UNREACHABLE:
                raise
            return _unreachable(connection.address, error, form)
        version = client.server_version()
        counts = _counts(client)
    facts: dict[str, Any] = {"address": connection.address, "reachable": True}
    facts |= {"version": version, "experiments": counts, "clusters": clusters}

    def show() -> None:
        active = ", ".join(f"{count} {state}" for state, count in counts.items())
        output.print_facts(
            [
                ("Server", connection.address),
                ("Version", version),
                ("Experiments", active or "none queued or running"),
            ]
        )
        click.echo()
        CLUSTERS.print_list(form, clusters)

    output.print_document(form, facts, name=connection.address, text=show)
    return exitcodes.OK


def _unreachable(address: str, error: Unavailable, form: str) -> int:
    from subgrpc.cli.complaints import complaint

    if form in ("json", "yaml"):
        facts = {"address": address, "reachable": False, "message": error.message}
        output.print_document(form, facts, name="")
    output.note(complaint(error))
    return exitcodes.NOT_RUNNING


def _counts(client: Client) -> dict[str, int]:
    """How many experiments are in which state, of those that have not ended."""
    found = client.list_experiments(filter=ACTIVE, page_size=1000)
    return dict(Counter(output.state_word(each) for each in itertools.islice(found, _MOST)))
