"""`subgrpc artifact push|pull|verify|gc`: what takes time, and shows how far it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from subgrpc.cli import complete, exitcodes, output
from subgrpc.cli.ctrlc import CtrlC
from subgrpc.cli.examples import examples
from subgrpc.cli.kinds import Column, Kind, show_size
from subgrpc.cli.options import Connection, connection_options, output_option, short_artifact
from subgrpc.cli.progress import Bar, is_wanted
from subgrpc.cli.times import SPAN

if TYPE_CHECKING:
    from subgrpc.client import Client
    from subgrpc.client.threads import Work

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
_CODES = "Exit codes: 0 done, 1 could not be done, 2 wrong usage, 130 interrupted with Ctrl-C."
_direct_option = click.option(
    "--direct/--no-direct",
    default=True,
    help="Whether large files go to or from the store itself, where it can be reached.",
)
_quiet_option = click.option("-q", "--quiet", is_flag=True, help="Do not show how far it is.")


@click.command(
    "push",
    epilog=examples(
        "subgrpc artifact push model",
        "subgrpc artifact push model --name digits-model -l stage=test --exclude '*.tmp'",
        "subgrpc artifact push weights.bin config.json",
    )
    + _CODES,
)
@click.argument("path", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--name", default="", metavar="ID", help="Its id; by default one is made.")
@click.option("-l", "--label", multiple=True, metavar="KEY=VALUE", help="A label; repeatable.")
@click.option("--display-name", default="", metavar="TEXT", help="A name for people.")
@click.option("--description", default="", metavar="TEXT", help="Free text for people.")
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="What to leave out, as in .gitignore; repeatable. A folder's own are in .subgrpcignore.",
)
@_direct_option
@_quiet_option
@output_option
@connection_options
@click.pass_context
def push(
    ctx: click.Context,
    /,
    connection: Connection,
    path: tuple[Path, ...],
    name: str,
    label: tuple[str, ...],
    quiet: bool,
    form: str,
    **given: Any,
) -> None:
    """Make an artifact of files and folders; only what the server lacks is sent.

    The content of one folder stands at the artifact's root; of several paths each has its name.
    A push that broke off, or was ended with Ctrl-C, sends the rest when it is repeated. With a
    --name that has the same files already nothing is done.
    """
    from subgrpc.client.transfer.push import Push
    from subgrpc.client.transfer.results import PushOptions

    options = PushOptions(path, artifact_id=name, labels=label_pairs(ctx, label), **given)
    with connection.open() as client, Bar("pushing", shown=is_wanted(form, quiet)) as bar:
        done = _interruptible(
            client, lambda calls, target, stop: Push(calls, target, options, bar.show, stop).run()
        )
    artifact = done.artifact
    output.print_document(
        form, artifact, name=short_artifact(artifact.name), text=lambda: click.echo(_name(artifact))
    )
    files = f"{artifact.file_count} files, {show_size(artifact.size_bytes)}"
    if done.existed:
        output.note(f"{files}: it was there already")
    elif not quiet:
        output.note(f"{files}; {show_size(done.sent_bytes)} had to be sent")


def pull_options(command: F) -> F:
    """The target and the options of commands that pull."""
    for decorate in (
        connection_options,
        output_option,
        _quiet_option,
        _direct_option,
        click.option("--force", is_flag=True, help="Replace what is at TARGET, in one step."),
        click.option(
            "--path", default="", metavar="PATH", help="Only this file, or what is in this folder."
        ),
        click.argument("target", type=click.Path(path_type=Path)),
    ):
        command = decorate(command)
    return command


@click.command(
    "pull",
    epilog=examples(
        "subgrpc artifact pull digits-model model",
        "subgrpc artifact pull digits-model weights.bin --path final/weights.bin",
        "subgrpc artifact pull my-run/checkpoints checkpoints --force",
    )
    + _CODES,
)
@click.argument("name", shell_complete=complete.artifacts)
@pull_options
def pull(connection: Connection, name: str, target: Path, form: str, **given: Any) -> None:
    """Put the files of an artifact into the folder TARGET: as a whole, or not at all.

    Every file is compared with its digest. A pull that broke off, or was ended with Ctrl-C, goes on
    where it was when it is repeated. If TARGET has just these files, nothing is done.
    """
    pull_found(connection, lambda client: client.artifacts.get(name).name, target, form, **given)


def pull_found(
    connection: Connection,
    find: Callable[[Client], str],
    target: Path,
    form: str,
    *,
    quiet: bool,
    **given: Any,
) -> None:
    """Pulls the artifact whose name is found, and says what that came to."""
    from subgrpc.client.transfer.pull import Pull
    from subgrpc.client.transfer.results import PullOptions

    with connection.open() as client, Bar("pulling", shown=is_wanted(form, quiet)) as bar:
        options = PullOptions(find(client), target, **given)
        done = _interruptible(
            client, lambda calls, target, stop: Pull(calls, target, options, bar.show, stop).run()
        )
    document = {
        "artifact": done.artifact,
        "target": done.target,
        "fileCount": done.file_count,
        "receivedBytes": done.received_bytes,
        "existed": done.existed,
    }
    output.print_document(form, document, name=done.target)
    if done.existed:
        output.note(f"{done.file_count} files: they were there already")
    elif not quiet:
        output.note(f"{done.file_count} files; {show_size(done.received_bytes)} had to be received")


@click.command(
    "verify",
    epilog="Exit codes: 0 all is right, 1 it is not, or could not be compared, 2 wrong usage.",
)
@click.argument("name", shell_complete=complete.artifacts)
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False))
@_quiet_option
@output_option
@connection_options
def verify(connection: Connection, name: str, folder: str | None, quiet: bool, form: str) -> int:
    """Compare what is stored of an artifact with its digests; with FOLDER, what is in that.

    What is stored is read where it is, on the server. A FOLDER is compared here, file by file;
    folders without files, times and owners do not matter.
    """
    with connection.open() as client:
        artifact = client.artifacts.get(name)
        if folder is not None:
            found = [each._asdict() for each in client.artifacts.compare(artifact.name, folder)]
        else:
            found = _verified(client, artifact.name, artifact.size_bytes, is_wanted(form, quiet))
    if form in ("json", "yaml"):
        output.print_document(form, {"artifact": artifact, "damaged": found}, name="")
    else:
        _DAMAGED.print_list(form, found)
    if not found:
        output.note(f"{artifact.file_count} files, {show_size(artifact.size_bytes)}: all is right")
    return exitcodes.FAILED if found else exitcodes.OK


@click.command("gc", epilog=_CODES)
@click.option(
    "--grace",
    type=SPAN,
    metavar="SPAN",
    help="How long what nothing refers to is kept, twice.  [default: 1h]",
)
@click.option("--dry-run", is_flag=True, help="Only count.")
@output_option
@connection_options
def collect(connection: Connection, grace: float | None, dry_run: bool, form: str) -> None:
    """Remove what nothing refers to any more. The server does it by itself, every hour."""
    span = None if grace is None else timedelta(seconds=grace)
    with connection.open() as client:
        *_, last = client.artifacts.collect_garbage(grace=span, validate_only=dry_run)
    would = "would be " if dry_run else ""
    facts = [
        ("Condemned", f"{last.condemned_count} objects: nothing refers to them"),
        ("Removed", f"{last.removed_count} objects, {show_size(last.removed_bytes)}"),
        ("Abandoned", f"{last.abandoned_count} artifacts that were never finished"),
    ]
    output.print_document(
        form,
        last,
        name=str(last.removed_count),
        text=lambda: output.print_facts([(f"{would}{key}".capitalize(), v) for key, v in facts]),
    )


def label_pairs(ctx: click.Context, given: tuple[str, ...]) -> dict[str, str]:
    """Labels as they are written on the command line."""
    found = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not (key and equals):
            raise click.UsageError(f"{each!r} is no label: KEY=VALUE", ctx)
        found[key] = value
    return found


def _interruptible(client: Client, work: Work[T]) -> T:
    """Transfers files; Ctrl-C ends that between two pieces of work, and leaves what was done."""
    from subgrpc.client.threads import do_work

    stop = threading.Event()
    interruption = CtrlC(stop.set)
    try:
        with interruption:
            return do_work(client.connection.target, client.connection.timeout, work, stop)
    except KeyboardInterrupt:
        output.note("what was done is kept: the same command goes on from here")
        raise


def _verified(client: Client, name: str, size: int, shown: bool) -> list[dict[str, Any]]:
    from subgrpc.client import Progress

    found: list[dict[str, Any]] = []
    with Bar("verifying", shown=shown) as bar:
        for each in client.artifacts.verify(name):
            found += [{"path": file.path, "message": file.message} for file in each.damaged]
            bar.show(Progress(phase="verifying", total_bytes=size, done_bytes=each.size_bytes))
    return found


def _name(artifact: Any) -> str:
    return short_artifact(artifact.name)


_DAMAGED: Kind[dict[str, Any]] = Kind(
    "damaged",
    lambda each: str(each["path"]),
    (
        Column("PATH", lambda each: str(each["path"])),
        Column("WHAT IS WRONG", lambda each: str(each["message"])),
    ),
)
