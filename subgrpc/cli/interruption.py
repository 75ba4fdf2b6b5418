"""Ctrl-C while `run` follows: detach or cancel, and how to go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from subgrpc.cli import output
from subgrpc.cli.ctrlc import Hurry
from subgrpc.cli.options import short_name
from subgrpc.errors import SubgrpcError

if TYPE_CHECKING:
    from subgrpc.cli.follow import Follower
    from subgrpc.client import Client
    from subgrpc.v1.experiment_service_pb2 import Experiment


def follow(client: Client, experiment: Experiment, follower: Follower) -> Experiment:
    """Follows to the end.

    The first Ctrl-C asks on a terminal what is meant; if it is to cancel, the following goes on
    until all has stopped. A second one, one without a terminal, a closed pipe and an error end it,
    and say how to go on.
    """
    try:
        try:
            return follower.follow()
        except Hurry:
            raise
        except KeyboardInterrupt:
            if not (output.interactive() and _wants_to_cancel(experiment)):
                raise
            client.cancel_experiment(experiment.name, message="Ctrl-C in subgrpc run")
            output.note("cancelled; Ctrl-C again does not wait for its end")
            return follower.follow()
    except (KeyboardInterrupt, BrokenPipeError, SubgrpcError):
        _say_how_to_go_on(experiment)
        raise


def _wants_to_cancel(experiment: Experiment) -> bool:
    click.echo(err=True)  # behind the terminal's ^C
    try:
        answer = click.prompt(
            f"{short_name(experiment.name)} goes on if you detach. [D]etach or [c]ancel it?",
            type=click.Choice(["d", "c"], case_sensitive=False),
            default="d",
            show_choices=False,
            show_default=False,
            prompt_suffix=" ",
            err=True,
        )
    except click.Abort as abort:  # a second Ctrl-C, or the end of the input
        click.echo(err=True)
        raise KeyboardInterrupt from abort
    return str(answer) == "c"


def _say_how_to_go_on(experiment: Experiment) -> None:
    name = short_name(experiment.name)
    output.note(
        f"no longer following {name}, which goes on.\n"
        f"  follow:  subgrpc logs -f {name}\n"
        f"  result:  subgrpc wait {name}\n"
        f"  stop:    subgrpc cancel {name}"
    )
