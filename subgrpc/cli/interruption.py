"""Ctrl-C while `run` follows: detach or cancel, and how to go on."""

from __future__ import annotations

import os
import select
import signal
import sys
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
    name = short_name(experiment.name)
    while True:
        click.echo(f"{name} goes on if you detach. [D]etach or [c]ancel it? ", nl=False, err=True)
        try:
            line = _line()
        except KeyboardInterrupt:  # a second Ctrl-C
            click.echo(err=True)
            raise
        answer = line.strip().lower()
        if not line:  # the end of the input
            click.echo(err=True)
            raise KeyboardInterrupt
        if answer in ("", "d", "c"):
            return answer == "c"
        click.echo("Type d or c.", err=True)


def _line() -> str:
    """A line of the terminal; empty: its end. Ctrl-C ends the waiting whenever it comes.

    `input` would miss one that comes in the moment before it begins to wait.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        select.select([sys.stdin, read], [], [])
        return sys.stdin.readline()
    finally:
        signal.set_wakeup_fd(before)
        os.close(read)
        os.close(write)


def _say_how_to_go_on(experiment: Experiment) -> None:
    name = short_name(experiment.name)
    output.note(
        f"no longer following {name}, which goes on.\n"
        f"  follow:  subgrpc logs -f {name}\n"
        f"  result:  subgrpc wait {name}\n"
        f"  stop:    subgrpc cancel {name}"
    )
