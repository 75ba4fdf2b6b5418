"""`subgrpc artifact`."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING

import click

from subgrpc.cli import artifact_transfer, complete, exitcodes, output, selection
from subgrpc.cli.examples import examples
from subgrpc.cli.kinds import (
    ARTIFACTS,
    FILES,
    artifact_source,
    artifact_state,
    labels,
    show_size,
)
from subgrpc.cli.options import (
    Connection,
    connection_options,
    output_option,
    short_artifact,
)
from subgrpc.errors import SubgrpcError, Unavailable

if TYPE_CHECKING:
    from subgrpc.client import Client
    from subgrpc.v1.artifact_service_pb2 import Artifact

_CODES = "Exit codes: 0 done, 1 could not be done (not found, ...), 2 wrong usage."


@click.group(
    "artifact",
    epilog=examples(
        "subgrpc artifact push model --name digits-model",
        "subgrpc artifact pull digits-model model-again",
        "subgrpc artifact pull my-run/checkpoints checkpoints",
    )
    + _CODES,
)
def command() -> None:
    """Push, pull and manage artifacts: immutable sets of files that outlive what made them.

    An artifact is named by its id, by its full name, teams/TEAM/artifacts/ID, or as
    EXPERIMENT/OUTPUT: the newest that this output of an experiment became.
    """


@command.command("ls", epilog=_CODES)
@click.option(
    "--filter",
    "filter_",
    default="",
    metavar="FILTER",
    help="Such as 'state = READY AND labels.team = \"vision\"'.",
)
@click.option(
    "--experiment",
    default="",
    metavar="EXPERIMENT[/OUTPUT]",
    shell_complete=complete.experiments,
    help="Outputs of this experiment only, or one of them.",
)
@click.option(
    "--order-by",
    default="",
    metavar="FIELD",
    help="create_time, update_time or "
    'artifact_id, with " desc" for descending.  [default: create_time desc]',
)
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=50,
    show_default=True,
    metavar="N",
    help="At most so many; 0: all.",
)
@output_option
@connection_options
def list_artifacts(
    connection: Connection, filter_: str, experiment: str, order_by: str, limit: int, form: str
) -> None:
    """List artifacts, newest first. -o wide shows more of each."""
    wanted = " AND ".join(each for each in (_grouped(filter_), _of(experiment)) if each)
    with connection.open() as client:
        found = client.list_artifacts(
            filter=wanted, order_by=order_by, page_size=min(limit + 1, 1000) if limit else 1000
        )
        artifacts = list(itertools.islice(found, limit + 1 if limit else None))
    more = bool(limit) and len(artifacts) > limit
    artifacts = artifacts[:limit] if limit else artifacts
    ARTIFACTS.print_list(form, artifacts)
    if not artifacts:
        output.note("no artifact" + (" matches" if wanted else "s yet: subgrpc artifact push PATH"))
    if more:
        output.note(f"there are more than {limit}: see --limit")


@command.command("get", epilog=_CODES)
@click.argument("name", shell_complete=complete.artifacts)
@output_option
@connection_options
def get(connection: Connection, name: str, form: str) -> None:
    """Show one artifact."""
    with connection.open() as client:
        found = client.artifacts.get(name)
    _print(found, form)


@command.command("files", epilog=_CODES)
@click.argument("name", shell_complete=complete.artifacts)
@click.argument("prefix", default="")
@output_option
@connection_options
def files(connection: Connection, name: str, prefix: str, form: str) -> None:
    """List the files of an artifact, those whose path starts with PREFIX."""
    with connection.open() as client:
        FILES.print_list(form, list(client.artifacts.files(name, prefix=prefix)))


@command.command("cat", epilog=_CODES)
@click.argument("name", shell_complete=complete.artifacts)
@click.argument("path")
@click.option("--offset", type=click.IntRange(0), default=0, metavar="N", help="From this byte on.")
@click.option(
    "--length",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="So many bytes; 0: up to the end.",
)
@connection_options
def cat(connection: Connection, name: str, path: str, offset: int, length: int) -> None:
    """Print a file of an artifact, byte for byte."""
    out = sys.stdout.buffer
    with connection.open() as client:
        for data in client.artifacts.read(name, path, offset=offset, length=length):
            out.write(data)
    out.flush()


@command.command("update", epilog=_CODES)
@click.argument("name", shell_complete=complete.artifacts)
@click.option("-l", "--label", multiple=True, metavar="KEY=VALUE", help="Set a label; repeatable.")
@click.option("--remove-label", multiple=True, metavar="KEY", help="Remove a label; repeatable.")
@click.option("--display-name", metavar="TEXT", help='A name for people; "": none.')
@click.option("--description", metavar="TEXT", help='Free text for people; "": none.')
@output_option
@connection_options
@click.pass_context
def update(
    ctx: click.Context,
    /,
    connection: Connection,
    name: str,
    label: tuple[str, ...],
    remove_label: tuple[str, ...],
    display_name: str | None,
    description: str | None,
    form: str,
) -> None:
    """Change an artifact's labels, display name or description. Its files never change."""
    changes = artifact_transfer.label_pairs(ctx, label)
    with connection.open() as client:
        found = client.artifacts.get(name)
        wanted = None
        if changes or remove_label:
            wanted = {**found.labels, **changes}
            for key in remove_label:
                wanted.pop(key, None)
        found = client.artifacts.update(
            found.name,
            labels=wanted,
            display_name=display_name,
            description=description,
            # Labels are replaced as a whole: not those that somebody else has just set.
            etag=found.etag if wanted is not None else "",
        )
    _print(found, form)


@command.command("rm", epilog=_CODES)
@click.argument("name", nargs=-1, shell_complete=complete.artifacts)
@click.option("--filter", "filter_", metavar="FILTER", help="Those that match; as in artifact ls.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask whether this is meant.")
@output_option
@connection_options
@click.pass_context
def remove(
    ctx: click.Context,
    /,
    connection: Connection,
    name: tuple[str, ...],
    everything: bool,
    filter_: str | None,
    yes: bool,
    form: str,
) -> int:
    """Delete artifacts for good. What other artifacts have too is kept for them.

    --all and --filter ask first; without a terminal they need --yes.
    """
    selection.check_usage(ctx, name, everything, filter_, yes)
    with connection.open() as client:
        wanted = _named(client, name) if name else _matching(client, filter_ or "")
        if not wanted:
            output.note("nothing to delete")
        elif not (name or yes or _confirmed(wanted)):
            return exitcodes.FAILED
        return _remove_all(client, wanted, form)


for _command in (
    artifact_transfer.push,
    artifact_transfer.pull,
    artifact_transfer.verify,
    artifact_transfer.collect,
):
    command.add_command(_command)


def _named(client: Client, given: tuple[str, ...]) -> list[Artifact]:
    return [client.artifacts.get(each) for each in dict.fromkeys(given)]


def _matching(client: Client, filter_: str) -> list[Artifact]:
    return list(client.list_artifacts(filter=filter_, page_size=1000))


def _remove_all(client: Client, wanted: list[Artifact], form: str) -> int:
    done, code = [], exitcodes.OK
    for artifact in wanted:
        try:
            client.delete_artifact(artifact.name)
        except Unavailable:
            raise  # the next one would meet it too
        except SubgrpcError as error:
            if len(wanted) == 1:
                raise
            from subgrpc.cli.complaints import complaint

            output.note(f"{short_artifact(artifact.name)}: {complaint(error)}")
            code = exitcodes.FAILED
        else:
            done.append(artifact)
    if form in ("table", "wide"):
        for artifact in done:
            click.echo(f"{short_artifact(artifact.name)} deleted")
    else:
        ARTIFACTS.print_list(form, done)
    return code


def _confirmed(wanted: list[Artifact]) -> bool:
    shown = ", ".join(short_artifact(each.name) for each in wanted[:5])
    more = f" and {len(wanted) - 5} more" if len(wanted) > 5 else ""
    count = f"{len(wanted)} artifact{'s' * (len(wanted) != 1)}"
    if click.confirm(f"Delete for good {count} ({shown}{more})?", err=True):
        return True
    output.note("nothing was done")
    return False


def _grouped(filter_: str) -> str:
    return f"({filter_})" if filter_.strip() else ""


def _of(experiment: str) -> str:
    """The filter of the outputs of an experiment, or of one of them."""
    from subgrpc.cli.options import full_name
    from subgrpc.client.inputs import output_filter

    if not experiment:
        return ""
    return output_filter(experiment) or f'experiment = "{full_name(experiment)}"'


def _print(found: Artifact, form: str) -> None:
    output.print_document(
        form,
        found,
        name=short_artifact(found.name),
        text=lambda: output.print_facts(_facts(found)),
    )


def _facts(found: Artifact) -> list[tuple[str, str]]:
    return [
        ("Name", found.name),
        ("Uid", found.uid),
        ("Display name", found.display_name),
        ("Description", found.description),
        ("Labels", labels(found)),
        ("State", artifact_state(found)),
        ("Files", str(found.file_count)),
        ("Size", show_size(found.size_bytes)),
        ("Digest", found.digest),
        ("Source", artifact_source(found)),
        ("Attempt", str(found.source.attempt or "")),
        ("Creator", found.creator),
        ("Created", output.when(found.create_time)),
        ("Updated", output.when(found.update_time)),
    ]
