"""`subgrpc logs`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from subgrpc import names
from subgrpc.cli import output
from subgrpc.cli.follow import many_tasks, note_loss
from subgrpc.cli.logwriter import LogWriter
from subgrpc.cli.options import Connection, connection_options, full_name, output_option

if TYPE_CHECKING:
    from subgrpc.client import Client


@click.command("logs")
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on until the experiment has ended.")
@click.option("--tail", type=click.IntRange(0, 1_000_000), help="Start with about so many lines.")
@click.option("--task", metavar="ROLE-INDEX", help="Only this task, of the latest attempt.")
@click.option("--attempt", type=click.IntRange(1), help="Only this attempt.")
@click.option("--stream", type=click.Choice(["stdout", "stderr"]), help="Only this stream.")
@click.option(
    "--prefix/--no-prefix",
    default=None,
    help="The task before each line; by default if there are several tasks.",
)
@output_option
@connection_options
def command(
    connection: Connection,
    name: str,
    follow: bool,
    tail: int | None,
    task: str | None,
    attempt: int | None,
    stream: str | None,
    prefix: bool | None,
    as_json: bool,
) -> None:
    """Print an experiment's output; -f follows it to the end.

    What the tasks wrote to stdout goes to stdout, what they wrote to stderr to stderr; with one
    task byte for byte. With -f, server restarts and lost connections are waited over, and nothing
    is lost or doubled. With -o json every frame is one line of JSON.

    Exit codes: 0 done, 1 could not be done (not found, ...), 2 wrong usage, 130 interrupted.
    """
    from subgrpc.v1.types_pb2 import LogStream

    with connection.open() as client:
        target, several = _target(client, full_name(name), task, attempt)
        frames = client.follow_logs(
            target,
            follow=follow,
            tail_lines=tail,
            stream=LogStream.Value(f"LOG_STREAM_{(stream or 'unspecified').upper()}"),
            text=as_json,
            **note_loss(),
        )
        writer = LogWriter(prefix=several if prefix is None else prefix)
        with frames:
            for frame in frames:
                if not as_json:
                    writer.take(frame)
                elif frame.WhichOneof("frame") != "bookmark":
                    output.print_json_line(frame)
        writer.finish()


def _target(client: Client, name: str, task: str | None, attempt: int | None) -> tuple[str, bool]:
    """The name of what to print, and whether it is more than one task."""
    if "/attempts/" in name:
        return name, "/tasks/" not in name
    experiment = client.get_experiment(name)
    if task is not None:
        number = attempt or max(experiment.attempt, 1)
        return f"{names.attempt_name(experiment.name, number)}/tasks/{task}", False
    if attempt is not None:
        return names.attempt_name(experiment.name, attempt), many_tasks(experiment)
    return experiment.name, many_tasks(experiment)
