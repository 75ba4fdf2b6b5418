"""`subgrpc admin`: what an operator does with a server's data folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from subgrpc.cli import exitcodes, output
from subgrpc.cli.datafolder import data_dir_option
from subgrpc.cli.options import database_option

if TYPE_CHECKING:
    from subgrpc.admin.check import Report

_FILE = click.Path(path_type=Path, dir_okay=False)


_data_dir = data_dir_option("The server's data folder.")

_CODES = "Exit codes: 0 done, 1 could not be done, 2 wrong usage."


@click.group(
    "admin",
    epilog="""\b
Examples:
  subgrpc admin backup /backups/today.tar.gz
  subgrpc admin check
  subgrpc admin restore /backups/today.tar.gz --data-dir /srv/subgrpc
  subgrpc admin confirm --data-dir /srv/subgrpc

\b
Exit codes: 0 done, 1 could not be done (check: something is wrong), 2 wrong usage.
""",
)
def command() -> None:
    """Back up, restore and check a server's data folder, on the server's machine."""


@command.command("backup", epilog=_CODES)
@click.argument("target", type=_FILE, metavar="FILE")
@_data_dir
@database_option
@click.option(
    "--no-artifacts", is_flag=True, help="Leave out artifacts that are kept in the data folder."
)
def backup(target: Path, data_dir: Path, database: str, no_artifacts: bool) -> int:
    """Write a backup; the server may run meanwhile.

    FILE must not exist; it is compressed if it ends in .gz or .tgz. It holds the metastore, the
    logs, the artifacts and the secrets of the data folder: keep it as safe as that. Running tasks
    are no part of it, nor are artifacts that are kept elsewhere. Of a metastore in PostgreSQL
    pg_dump makes the backup, before this does the rest.
    """
    from subgrpc.admin.backup import backup as make

    parts = {"metastore": not database, "artifacts": not no_artifacts}
    made = make(data_dir, target.absolute(), _progress(), **parts)
    size = target.stat().st_size
    output.note(f"{target}: {len(made.files)} files, {size:,} bytes")
    return exitcodes.OK


@command.command("restore", epilog=_CODES)
@click.argument("source", type=_FILE, metavar="FILE")
@_data_dir
def restore(source: Path, data_dir: Path) -> int:
    """Make a data folder of a backup.

    The folder must not exist, or be empty. What happened after the backup is unknown to the
    server that is started on it: watchers begin anew (their resume tokens are refused), and
    workloads that it does not know are listed in its log, and left alone until
    `subgrpc admin confirm`.
    """
    from subgrpc.admin.backup import restore as make

    made = make(source, data_dir.absolute(), _progress())
    output.note(f"{data_dir}: {len(made.files)} files restored")
    return exitcodes.OK


@command.command("confirm", epilog=_CODES)
@_data_dir
@database_option
def confirm(data_dir: Path, database: str) -> int:
    """Say that a restored metastore is the truth.

    From then on the server removes workloads of its own that it does not know.
    """
    from subgrpc.metastore import offline

    confirmed = offline.confirm(offline.Place(data_dir, database))
    output.note("confirmed" if confirmed else "nothing to confirm: it was not restored")
    return exitcodes.OK


@command.command("new-history", epilog=_CODES)
@_data_dir
@database_option
def new_history(data_dir: Path, database: str) -> int:
    """Say that a PostgreSQL database comes from a backup, before servers start on it again.

    `subgrpc admin restore` does this by itself; after pg_restore it has to be said. Tokens of
    before are refused from then on, and unknown workloads left alone until it is confirmed.
    """
    from subgrpc.metastore import offline

    output.note(f"history {offline.begin_history(offline.Place(data_dir, database))} begins")
    return exitcodes.OK


@command.command("check", epilog="Exit codes: 0 nothing is wrong, 1 something is, 2 wrong usage.")
@_data_dir
@database_option
@click.option("--no-logs", is_flag=True, help="Do not read all logs, only look for them.")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How problems are printed.",
)
def check(data_dir: Path, database: str, no_logs: bool, form: str) -> int:
    """Look for everything that can be wrong with a data folder; the server may run meanwhile.

    Each problem is a line CODE: WHERE: WHAT.
    """
    from subgrpc.admin.check import check as look

    report = look(data_dir, database, logs=not no_logs)
    if form == "json":
        output.print_json(_document(report))
    else:
        for code, where, message in report.problems:
            click.echo(output.clean(f"{code}: {where}: {message}"))
        models = f"{report.models} models with {report.versions} versions"
        counted = (
            f"{report.experiments} experiments, {report.journals} logs, {models}, "
            f"{report.artifacts} artifacts"
        )
        output.note(f"{counted}, {len(report.problems)} problems")
    return exitcodes.FAILED if report.problems else exitcodes.OK


def _document(report: Report) -> dict[str, Any]:
    problems = [each._asdict() for each in report.problems]
    return {
        "experiments": report.experiments,
        "journals": report.journals,
        "models": report.models,
        "versions": report.versions,
        "artifacts": report.artifacts,
        "problems": problems,
    }


def _progress() -> Callable[[str], None]:
    """Shows the file that is at work, on a terminal."""
    if not sys.stderr.isatty():
        return lambda name: None
    return lambda name: click.echo(f"\r\033[K{output.clean(name)}", err=True, nl=False)
