"""Which experiments `cancel` and `delete` are about: some by name, those of a filter, or all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

import click

from subgrpc.cli import complete, exitcodes, output
from subgrpc.cli.kinds import EXPERIMENTS
from subgrpc.cli.options import full_name, short_name
from subgrpc.errors import SubgrpcError, Unavailable

if TYPE_CHECKING:
    from subgrpc.v1.experiment_service_pb2 import Experiment

F = TypeVar("F", bound=Callable[..., object])
_SHOWN = 5


def selection_options(command: F) -> F:
    """Adds NAME..., --all, --filter and --yes."""
    for decorate in (
        click.option("-y", "--yes", is_flag=True, help="Do not ask whether this is meant."),
        click.option(
            "--filter", "filter_", metavar="FILTER", help="Those that match; as in subgrpc list."
        ),
        click.option("--all", "everything", is_flag=True, help="All of them."),
        click.argument("name", nargs=-1, shell_complete=complete.experiments),
    ):
        command = decorate(command)
    return command


def check_usage(
    ctx: click.Context, names: tuple[str, ...], everything: bool, filter_: str | None, yes: bool
) -> None:
    """Complains unless there is exactly one way to choose, and somebody who can say yes."""
    ways = [bool(names), everything, filter_ is not None]
    if sum(ways) != 1:
        raise click.UsageError("Give names, --all or --filter: one of them.", ctx)
    if filter_ is not None and not filter_.strip():
        raise click.UsageError("An empty --filter matches everything: that is --all.", ctx)
    if not names and not yes and not output.interactive():
        raise click.UsageError("Without a terminal nobody can be asked: add --yes.", ctx)


def confirmed(action: str, experiments: list[str]) -> bool:
    """Asks on the terminal whether an action on all these is meant."""
    shown = ", ".join(short_name(each) for each in experiments[:_SHOWN])
    more = f" and {len(experiments) - _SHOWN} more" if len(experiments) > _SHOWN else ""
    count = f"{len(experiments)} experiment{'s' * (len(experiments) != 1)}"
    if click.confirm(f"{action} {count} ({shown}{more})?", err=True):
        return True
    output.note("nothing was done")
    return False


def full_names(names: Iterable[str]) -> list[str]:
    """Resource names, each once."""
    return list(dict.fromkeys(full_name(each) for each in names))


def each(
    experiments: list[str], act: Callable[[str], Experiment | None]
) -> tuple[list[Experiment], int]:
    """Acts on every experiment; what fails for one of several is said and leaves the others.

    Returns:
        What came out, and the exit code.
    """
    done: list[Experiment] = []
    code = exitcodes.OK
    for name in experiments:
        try:
            found = act(name)
        except Unavailable:
            raise  # the next one would meet it too
        except SubgrpcError as error:
            if len(experiments) == 1:
                raise
            from subgrpc.cli.complaints import complaint

            output.note(f"{short_name(name)}: {complaint(error)}")
            code = exitcodes.FAILED
        else:
            if found is not None:
                done.append(found)
    return done, code


def print_done(
    form: str, done: list[Experiment], *, one: bool, word: Callable[[Experiment], str]
) -> None:
    """Prints what became of them: the message itself if exactly one was named."""
    if form in ("table", "wide"):
        for experiment in done:
            click.echo(f"{short_name(experiment.name)} {word(experiment)}")
    elif one and done and form != "name":
        output.print_document(form, done[0], name="")
    else:
        EXPERIMENTS.print_list(form, done)
