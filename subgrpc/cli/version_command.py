"""`subgrpc version`."""

from __future__ import annotations

import platform
from typing import Any

import click

from subgrpc import __version__
from subgrpc.cli import output
from subgrpc.cli.examples import examples
from subgrpc.cli.options import Connection, connection_options, output_option


@click.command("version", epilog=examples("subgrpc version", "subgrpc version --client -o name"))
@click.option("--client", "only_client", is_flag=True, help="Do not ask the server.")
@output_option
@connection_options
def command(connection: Connection, only_client: bool, form: str) -> None:
    """Print the versions of this command and of its server.

    A server that cannot be reached has none; that is said on stderr.

    Exit codes: 0 done, 2 wrong usage.
    """
    facts: dict[str, Any] = {"client": __version__, "python": platform.python_version()}
    server = "" if only_client else _server(connection)
    if not only_client:
        facts["server"] = server or None
    output.print_document(
        form,
        facts,
        name=__version__,
        text=lambda: output.print_facts(
            [("Client", __version__), ("Server", server), ("Python", facts["python"])]
        ),
    )


def _server(connection: Connection) -> str:
    from subgrpc.errors import SubgrpcError

    try:
        with connection.open() as client:
            return client.server_version()
    except SubgrpcError as error:
        output.note(error.message)
        return ""
