# Made from aio/waiting.py by tools/make_sync_client.py: change that.
"""Waiting for an experiment's end or state, over lost connections and expired tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from subgrpc import names
from subgrpc.client.resume import PATIENCE
from subgrpc.client.states import TERMINAL, is_terminal
from subgrpc.client.statuses import DEADLINE_EXCEEDED
from subgrpc.errors import NotFound, OutOfRange, SubgrpcError, Unavailable
from subgrpc.v1.experiment_service_pb2 import (
    BookmarkType,
    ChangeType,
    Experiment,
    WatchExperimentsResponse,
)

if TYPE_CHECKING:
    from subgrpc.client.calls import Calls
    from subgrpc.client.streams import Stream

__all__ = ["TERMINAL", "is_terminal", "timed_out", "wait"]

_INITIAL_STATE_COMPLETE = BookmarkType.BOOKMARK_TYPE_INITIAL_STATE_COMPLETE


def wait(
    calls: Calls,
    experiment: Experiment,
    *,
    deadline: float | None,
    timeout: float | None,
    patience: float = PATIENCE,
    on_loss: Callable[[SubgrpcError], None] | None = None,
    on_back: Callable[[], None] | None = None,
    until: Callable[[Experiment], bool] | None = None,
) -> Experiment:
    """See `Calls.wait`; `experiment` as it was when it was last looked at."""
    reached = until or is_terminal
    if reached(experiment):
        return experiment
    name = experiment.name
    while True:
        watch = calls.watch(
            parent=names.team_name(names.parse_experiment(name).team),
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
            done = "ended" if until is None else "come so far"
            raise timed_out(error, name, timeout, done) from error


def timed_out(
    error: Unavailable, name: str, timeout: float | None, done: str = "ended"
) -> Unavailable:
    """The same error, if it is about the deadline in the words of somebody who waits."""
    if error.reason != DEADLINE_EXCEEDED or timeout is None:
        return Unavailable(error.message, reason=error.reason, retry_after=error.retry_after)
    return Unavailable(f"{name} has not {done} within {timeout:g} s", reason=DEADLINE_EXCEEDED)


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
