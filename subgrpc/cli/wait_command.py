"""`subgrpc wait`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from subgrpc.cli import exitcodes, output
from subgrpc.cli.examples import examples
from subgrpc.cli.options import (
    Connection,
    connection_options,
    full_name,
    name_argument,
    output_option,
    short_name,
)
from subgrpc.cli.times import SPAN
from subgrpc.errors import NotFound, SubgrpcError, Unavailable

if TYPE_CHECKING:
    from subgrpc.v1.experiment_service_pb2 import Experiment

_ENDED, _DELETED = "ended", "deleted"
_STATES = ("queued", "starting", "running", "cancelling", "succeeded", "failed", "cancelled")
_FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")
_EPILOG = (
    examples(
        "subgrpc wait my-run --timeout 2h",
        "subgrpc wait my-run --for running && subgrpc logs -f my-run",
    )
    + exitcodes.EXPERIMENT_HELP
    + """
\b
With --for STATE:
  0        it is in that state (running: or was, in this attempt)
  1        it has ended in another one
  124 125 130 2  as above
"""
)


@click.command("wait", epilog=_EPILOG)
@name_argument
@click.option(
    "--for",
    "state",
    type=click.Choice([_ENDED, *_STATES, _DELETED], case_sensitive=False),
    default=_ENDED,
    show_default=True,
    metavar="STATE",
    help="What to wait for: ended, deleted, or a state such as running or succeeded.",
)
@click.option("--timeout", type=SPAN, metavar="SPAN", help="Wait no longer than this: 90s, 5m, 2h.")
@output_option
@connection_options
def command(connection: Connection, name: str, state: str, timeout: float | None, form: str) -> int:
    """Wait until an experiment has ended, and return its exit code; or --for another state.

    Server restarts and lost connections are waited over.
    """
    from subgrpc.client.statuses import DEADLINE_EXCEEDED

    try:
        experiment = _wait(connection, full_name(name), state, timeout)
    except NotFound:
        if state != _DELETED:
            raise
        output.print_document(form, {"name": full_name(name)}, name=name, text=lambda: None)
        return exitcodes.OK
    except Unavailable as error:
        if timeout is None or error.reason != DEADLINE_EXCEEDED:
            raise
        output.note(_over(name, state, timeout))
        return exitcodes.TIMEOUT
    _print(form, experiment)
    return _code(experiment, state)


def _wait(connection: Connection, name: str, state: str, timeout: float | None) -> Experiment:
    def lost(error: SubgrpcError) -> None:
        output.note(f"{error.message}; trying again")

    until: dict[str, Any] = {}
    if state != _ENDED:
        until["until"] = lambda each: (
            state != _DELETED and (_is_reached(each, state) or output.state_word(each) in _FINAL)
        )
    with connection.open() as client:
        return client.wait(
            name,
            timeout=timeout,
            on_loss=lost,
            on_back=lambda: output.note("connected again"),
            **until,
        )


def _is_reached(experiment: Experiment, state: str) -> bool:
    if state == "running" and experiment.HasField("start_time"):
        return True
    return output.state_word(experiment) == state.upper()


def _over(name: str, state: str, timeout: float) -> str:
    wanted = {_ENDED: "ended", _DELETED: "gone"}.get(state, state.upper())
    return f"{name} is not {wanted} after {timeout:g} s; it goes on"


def _print(form: str, experiment: Experiment) -> None:
    words = (
        short_name(experiment.name),
        output.state_word(experiment),
        output.clean(experiment.message),
    )
    output.print_document(
        form, experiment, name=words[0], text=lambda: click.echo(" ".join(words).rstrip())
    )


def _code(experiment: Experiment, state: str) -> int:
    if state == _ENDED:
        return exitcodes.of_experiment(experiment)
    if _is_reached(experiment, state):
        return exitcodes.OK
    output.note(f"it has ended, and is not {state.upper()}")
    return exitcodes.FAILED
