"""Waiting for an experiment's end or state, over lost connections and expired tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from subgrpc import names
from subgrpc.client.statuses import DEADLINE_EXCEEDED
from subgrpc.errors import NotFound, OutOfRange, SubgrpcError, Unavailable
from subgrpc.v1.experiment_service_pb2 import (
    BookmarkType,
    ChangeType,
    Experiment,
    ExperimentState,
    WatchExperimentsResponse,
)

if TYPE_CHECKING:
    from subgrpc.client.client import Client
    from subgrpc.client.streams import Stream

TERMINAL = frozenset(
    (
        ExperimentState.EXPERIMENT_STATE_SUCCEEDED,
        ExperimentState.EXPERIMENT_STATE_FAILED,
        ExperimentState.EXPERIMENT_STATE_CANCELLED,
    )
)
"""The states that are final."""
_INITIAL_STATE_COMPLETE = BookmarkType.BOOKMARK_TYPE_INITIAL_STATE_COMPLETE


def wait(
    client: Client,
    name: str,
    *,
    timeout: float | None,
    patience: float,
    on_loss: Callable[[SubgrpcError], None] | None,
    on_back: Callable[[], None] | None,
    until: Callable[[Experiment], bool] | None = None,
) -> Experiment:
    """See `Client.wait`."""
    deadline = None if timeout is None else time.monotonic() + timeout
    reached = until or is_terminal
    experiment = client.get_experiment(name)
    if reached(experiment):
        return experiment
    team = names.parse_experiment(experiment.name).team
    while True:
        watch = client.watch(
            parent=names.team_name(team),
            # The uid: a namesake that is created later is another experiment.
            filter=f'uid = "{experiment.uid}"',
            until_terminal=until is None,
            patience=patience,
            deadline=deadline,
            on_loss=on_loss,
            on_back=on_back,
        )
        try:
            with watch:
                return _first(watch, name, reached)
        except OutOfRange:
            continue  # away for longer than changes are kept: look at it anew
        except Unavailable as error:
            if error.reason != DEADLINE_EXCEEDED:
                raise
            text = (
                f"{name} has not {'ended' if until is None else 'come so far'} within {timeout:g} s"
            )
            raise Unavailable(text, reason=DEADLINE_EXCEEDED) from error


def is_terminal(experiment: Experiment) -> bool:
    """Whether an experiment has ended."""
    return experiment.state in TERMINAL


def _first(
    watch: Stream[WatchExperimentsResponse], name: str, reached: Callable[[Experiment], bool]
) -> Experiment:
    last: Experiment | None = None
    for frame in watch:
        if frame.WhichOneof("frame") == "change":
            last = frame.change.experiment
            if frame.change.type == ChangeType.CHANGE_TYPE_REMOVED:
                break
            if reached(last):
                return last
        elif last is None and frame.bookmark.type == _INITIAL_STATE_COMPLETE:
            break
    raise NotFound(f"{name} was deleted")
