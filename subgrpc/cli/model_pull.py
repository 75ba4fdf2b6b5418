"""`subgrpc model pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from subgrpc.cli import complete
from subgrpc.cli.artifact_transfer import pull_found, pull_options
from subgrpc.cli.examples import examples
from subgrpc.cli.options import Connection


@click.command(
    "pull",
    epilog=examples(
        "subgrpc model pull digits@champion model",
        "subgrpc model pull digits/3 weights.bin --path weights.bin",
    )
    + "Exit codes: 0 done, 1 could not be done (not found, ...), 2 wrong usage.",
)
@click.argument("version", shell_complete=complete.models)
@pull_options
def pull(connection: Connection, version: str, target: Path, form: str, **given: Any) -> None:
    """Put the files of a model's version, NAME/NUMBER or NAME@ALIAS, into the folder TARGET.

    As `subgrpc artifact pull`: every file is compared with its digest, TARGET is there as a whole
    or not at all, and a pull that broke off goes on where it was.
    """
    pull_found(
        connection, lambda client: client.models.version(version).artifact, target, form, **given
    )
