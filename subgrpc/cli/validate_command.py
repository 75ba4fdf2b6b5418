"""`subgrpc validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from subgrpc.cli import exitcodes, output
from subgrpc.cli.examples import examples
from subgrpc.errors import InvalidArgument

_EPILOG = (
    examples("subgrpc validate experiment.yaml", "subgrpc validate -o json specs/*.yaml")
    + """\b
Exit codes:
  0  every file is a valid spec
  1  at least one is not
  2  the command line is wrong
"""
)


@click.command("validate", epilog=_EPILOG)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How mistakes are printed.",
)
def command(files: tuple[Path, ...], form: str) -> int:
    """Say everything that is wrong with specs.

    Each mistake is a line FILE:LINE:COLUMN: KEY: what was found, and what is allowed. No server is
    asked: whether there is a cluster or a secret of a name, `subgrpc run` says.
    """
    found = [(path, _mistakes(path)) for path in files]
    if form == "json":
        output.print_json([_document(path, error) for path, error in found])
    else:
        for path, error in found:
            _print(path, error)
    return exitcodes.FAILED if any(error for _, error in found) else exitcodes.OK


def _mistakes(path: Path) -> InvalidArgument | None:
    from subgrpc.spec import load_spec

    try:
        load_spec(path)
    except InvalidArgument as error:
        return error
    return None


def _print(path: Path, error: InvalidArgument | None) -> None:
    if error is None:
        click.echo(f"{output.clean(str(path))}: valid")
        return
    for each in error.violations:
        click.echo(output.clean(str(each)))
    if omitted := error.metadata.get("omittedViolations"):
        click.echo(f"{output.clean(str(path))}: {omitted} more mistakes")


def _document(path: Path, error: InvalidArgument | None) -> dict[str, Any]:
    mistakes = [
        {
            "place": each.place,
            "field": each.field,
            "description": each.description,
            "reason": each.reason,
        }
        for each in (error.violations if error else ())
    ]
    omitted = int(error.metadata.get("omittedViolations", 0)) if error else 0
    return {"file": str(path), "valid": error is None, "mistakes": mistakes, "omitted": omitted}
