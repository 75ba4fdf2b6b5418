"""`subgrpc schema`."""

from __future__ import annotations

from importlib import resources

import click

_EPILOG = """\b
Examples:
  subgrpc schema > experiment.schema.json
  # yaml-language-server: $schema=experiment.schema.json   (first line of a spec, for its editor)

Exit codes:
  0  done
  2  the command line is wrong
"""


@click.command("schema", epilog=_EPILOG)
def command() -> None:
    """Print the JSON Schema of specs, with which editors complete and check them."""
    text = resources.files("subgrpc.spec").joinpath("experiment.schema.json").read_text("utf-8")
    click.echo(text, nl=False)
