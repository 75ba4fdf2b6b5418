"""`subgrpc init`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from subgrpc.cli import output
from subgrpc.cli.examples import examples
from subgrpc.errors import AlreadyExists

_STARTER = Path(__file__).parent / "starter"
_FILES = ("experiment.yaml", "train.py")


@click.command(
    "init",
    epilog=examples(
        "subgrpc init", "subgrpc init my-project && cd my-project && subgrpc run experiment.yaml"
    ),
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
def command(folder: Path) -> None:
    """Write a commented experiment.yaml and a train.py that it runs, into FOLDER.

    FOLDER is the current one unless given, and is made if need be. Files that are there are never
    overwritten: then nothing is written.

    Exit codes: 0 done, 1 could not be done (a file is there, ...), 2 wrong usage.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = [name for name in _FILES if (folder / name).exists() or (folder / name).is_symlink()]
    if there:
        raise _exists(folder / there[0])
    label = _label(folder)
    for name in _FILES:
        text = (_STARTER / name).read_text(encoding="utf-8").replace("PROJECT", label)
        try:
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as error:
            raise _exists(folder / name) from error
        click.echo(folder / name)
    output.note(f"run it with: subgrpc run {folder / _FILES[0]}")


def _exists(path: Path) -> AlreadyExists:
    return AlreadyExists(f"{path} is there already, and is left as it is", reason="FILE_EXISTS")


def _label(folder: Path) -> str:
    """The folder's name as the value of a label."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._") or "first"
