"""`subgrpc logs`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from subgrpc import names
from subgrpc.cli import complete, output
from subgrpc.cli.ctrlc import CtrlC
from subgrpc.cli.examples import examples
from subgrpc.cli.follow import many_tasks, note_loss
from subgrpc.cli.kinds import TASKS
from subgrpc.cli.logwriter import LogWriter
from subgrpc.cli.options import (
    Connection,
    connection_options,
    full_name,
    name_argument,
    output_option,
)
from subgrpc.errors import NotFound

if TYPE_CHECKING:
    from subgrpc.client import Client
    from subgrpc.v1.experiment_service_pb2 import StreamLogsResponse


@click.command(
    "logs",
    epilog=examples(
        "subgrpc logs -f my-run",
        "subgrpc logs --tail 20 my-run",
        "subgrpc logs --task worker/0 --stream stderr my-run",
        "subgrpc logs --since-attempt 2 -f my-run",
    ),
)
@name_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the experiment has ended.")
@click.option(
    "--tail",
    type=click.IntRange(0, 1_000_000),
    metavar="N",
    help="Start with about the last N lines of the latest attempt; by default at the beginning.",
)
@click.option(
    "--task",
    metavar="ROLE/INDEX",
    shell_complete=complete.tasks,
    help="Only this task, of the latest attempt unless --attempt or --since-attempt says another.",
)
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Only this attempt.")
@click.option(
    "--since-attempt",
    type=click.IntRange(1),
    metavar="N",
    help="This attempt and all after it; with -f also those that are still to come.",
)
@click.option(
    "--stream", type=click.Choice(["stdout", "stderr"]), help="Only this stream; by default both."
)
@click.option(
    "--prefix/--no-prefix",
    default=None,
    help="The task before each line; by default if there are several tasks.",
)
@output_option
@connection_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    connection: Connection,
    name: str,
    follow: bool,
    tail: int | None,
    task: str | None,
    attempt: int | None,
    since_attempt: int | None,
    stream: str | None,
    prefix: bool | None,
    form: str,
) -> None:
    """Print an experiment's output; -f follows it to the end.

    What the tasks wrote to stdout goes to stdout, what they wrote to stderr to stderr; with one
    task byte for byte. With -f, server restarts and lost connections are waited over, and nothing
    is lost or doubled.

    -o json prints every piece as a line of JSON, -o yaml as a document, -o wide the task before
    each line, -o name only the names of the tasks.

    Exit codes: 0 done, 1 could not be done (not found, ...), 2 wrong usage, 130 interrupted.
    """
    from subgrpc.v1.types_pb2 import LogStream

    if attempt is not None and since_attempt is not None:
        raise click.UsageError("Give --attempt or --since-attempt, not both.", ctx)
    if "/attempts/" in name and (task or attempt or since_attempt):
        raise click.UsageError(f"{name} says already of which attempt or task.", ctx)
    with connection.open() as client:
        target, several = _target(client, full_name(name), task, attempt or since_attempt)
        if form == "name":
            _print_tasks(client, target, since_attempt or 0)
            return
        frames = client.follow_logs(
            target,
            follow=follow,
            tail_lines=tail,
            later_attempts=since_attempt is not None,
            stream=LogStream.Value(f"LOG_STREAM_{(stream or 'unspecified').upper()}"),
            text=form in ("json", "yaml"),
            **note_loss(),
        )
        several = several or form == "wide"
        writer = LogWriter(prefix=several if prefix is None else prefix)
        with frames, CtrlC(frames.close) as ctrl_c:
            for frame in frames:
                if form not in ("json", "yaml"):
                    writer.take(frame)
                elif frame.WhichOneof("frame") != "bookmark":
                    _print(form, frame)
                if ctrl_c.came:
                    break
        writer.finish()


def _print(form: str, frame: StreamLogsResponse) -> None:
    if form == "json":
        output.print_json_line(frame)
    else:
        output.print_yaml(frame, one_of_many=True)
    # Who reads it through a pipe reads it now.
    sys.stdout.flush()


def _print_tasks(client: Client, target: str, since: int) -> None:
    """Prints the names of the tasks whose output would be printed."""
    wanted, _, task = target.partition("/tasks/")
    experiment, _, attempt = wanted.partition("/attempts/")
    parent = f"{experiment}/attempts/{attempt if attempt and not since else '-'}"
    found = [
        each
        for each in client.list_tasks(parent)
        if each.attempt >= since and task in ("", each.name.rpartition("/")[2])
    ]
    if attempt and not found:
        raise NotFound(f"there is no {target}", reason="TASK_NOT_FOUND")
    TASKS.print_list("name", found)


def _target(client: Client, name: str, task: str | None, attempt: int | None) -> tuple[str, bool]:
    """The name of what to print, and whether it is more than one task."""
    if "/attempts/" in name:
        return name, "/tasks/" not in name
    experiment = client.get_experiment(name)
    if task is not None:
        number = attempt or max(experiment.attempt, 1)
        # Role and index as `tasks` prints them, or apart.
        one = "-".join(task.rsplit("/", 1))
        return f"{names.attempt_name(experiment.name, number)}/tasks/{one}", False
    if attempt is not None:
        return names.attempt_name(experiment.name, attempt), many_tasks(experiment)
    return experiment.name, many_tasks(experiment)
