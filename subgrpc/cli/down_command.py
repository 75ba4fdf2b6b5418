"""`subgrpc down`."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import click

from subgrpc.cli import exitcodes, output, serverfile
from subgrpc.cli.datafolder import data_dir_option
from subgrpc.cli.examples import examples
from subgrpc.cli.options import output_option
from subgrpc.cli.times import SPAN
from subgrpc.errors import Unavailable


@click.command(
    "down", epilog=examples("subgrpc down", "subgrpc down --data-dir /srv/subgrpc --timeout 1m")
)
@data_dir_option("The folder of the server to stop.")
@click.option(
    "--timeout",
    type=SPAN,
    default="30s",
    show_default=True,
    metavar="SPAN",
    help="How long to wait for its end.",
)
@output_option
def command(data_dir: Path, timeout: float, form: str) -> int:
    """Stop the server of a data folder. Running experiments go on.

    Exit codes: 0 stopped, or none was running; 1 it did not stop in time; 2 wrong usage.
    """
    server = serverfile.read(data_dir)
    if server is None or not server.is_alive():
        output.note(f"no server runs in {data_dir}")
        return _print(form, data_dir, None)
    os.kill(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while server.is_alive():
        if time.monotonic() > deadline:
            raise Unavailable(
                f"the server (process {server.pid}) has not stopped within {timeout:g} s",
                reason="SERVER_NOT_STOPPED",
            )
        time.sleep(0.02)
    return _print(form, data_dir, server.pid)


def _print(form: str, data_dir: Path, pid: int | None) -> int:
    if pid is not None or form in ("json", "yaml"):
        output.print_document(
            form,
            {"stopped": pid is not None, "pid": pid, "dataDir": str(data_dir)},
            name=str(data_dir),
            text=lambda: click.echo(f"stopped (process {pid}); running experiments go on"),
        )
    return exitcodes.OK
