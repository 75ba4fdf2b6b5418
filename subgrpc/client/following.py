# Made from aio/following.py by tools/make_sync_client.py: change that.
"""Following experiments: their changes, their output, their end."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from subgrpc import names
from subgrpc.client.feeds import Feed
from subgrpc.client.handle import (
    Change,
    Changes,
    ExperimentHandle,
    Logs,
)
from subgrpc.client.inputs import full_name, log_target
from subgrpc.client.printing import Printer
from subgrpc.client.resume import PATIENCE
from subgrpc.client.states import has_many_tasks
from subgrpc.client.waiting import timed_out, wait
from subgrpc.errors import SubgrpcError, Unavailable
from subgrpc.v1.experiment_service_pb2 import (
    ChangeType,
    Experiment,
    LogChunk,
    LogGap,
    StreamLogsResponse,
    WatchExperimentsResponse,
)
from subgrpc.v1.types_pb2 import LogStream

if TYPE_CHECKING:
    from subgrpc.client.calls import Calls

_log = logging.getLogger("subgrpc.client")


class Following(ABC):
    """The methods of experiments that stream."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    @abstractmethod
    def _handle(self, experiment: Experiment) -> ExperimentHandle:
        """A handle of an experiment."""

    def watch(
        self,
        *,
        filter: str = "",  # noqa: A002 - the name of the request's field
        until_terminal: bool = False,
        resume_token: str = "",
        patience: float = PATIENCE,
        parent: str = names.team_name(names.DEFAULT_TEAM),
    ) -> Changes:
        """Yields the experiments that match a filter (ADDED), then every change in commit order.

        It goes on over lost connections and restarted servers, without a change lost or doubled.

        Args:
            filter: as of `list`.
            until_terminal: end once all that matched have ended or gone, and at least one did.
            resume_token: the `resume_token` of an earlier watch with the same filter.
            patience: seconds for which it tries to reach a server again.
            parent: the team.

        Raises:
            OutOfRange: reason RESUME_TOKEN_EXPIRED, while iterating: it was away for longer than
                changes are kept (a day). Start again without a token.
            Unavailable: while iterating: no server could be reached for `patience`.
        """
        frames = self._calls.watch(
            parent=parent,
            filter=filter,
            until_terminal=until_terminal,
            resume_token=resume_token,
            patience=patience,
            on_loss=_tell_loss,
            on_back=_tell_back,
        )
        return Feed(frames, self._change)

    def logs(
        self,
        name: str,
        *,
        follow: bool = False,
        tail_lines: int | None = None,
        stream: Literal["stdout", "stderr"] | None = None,
        attempt: int | None = None,
        since_attempt: int | None = None,
        task: str = "",
        text: bool = True,
        resume_token: str = "",
        patience: float = PATIENCE,
        deadline: float | None = None,
        on_gap: Callable[[LogGap], None] | None = None,
    ) -> Logs:
        """Yields an experiment's output as `LogChunk`s, in the order in which it arrived.

        It goes on over lost connections and restarted servers, without a byte lost or doubled.

        Args:
            name: the experiment's.
            follow: go on until it has ended; else stop at what is there now.
            tail_lines: start with about the last so many lines of the latest attempt.
            stream: only this one; by default both.
            attempt: only this one.
            since_attempt: this one and all after it.
            task: only this one of the attempts asked for (else of the first), such as `worker-0`.
            text: chunks have `text`, what is not UTF-8 replaced; else `data`, byte for byte.
            resume_token: the `resume_token` of earlier logs of the same arguments.
            patience: seconds for which it tries to reach a server again.
            deadline: `time.monotonic()` after which it fails with `Unavailable`, reason
                DEADLINE_EXCEEDED.
            on_gap: called for output that the backend lost; by default it is logged as a warning.

        Raises:
            InvalidArgument: both `attempt` and `since_attempt` are given.
            NotFound: while iterating: there is no such experiment, attempt or task.
            Unavailable: while iterating: no server could be reached for `patience`.
        """
        frames = self._calls.follow_logs(
            log_target(name, attempt, since_attempt, task),
            later_attempts=since_attempt is not None,
            follow=follow,
            stream=LogStream.Value(f"LOG_STREAM_{(stream or 'unspecified').upper()}"),
            tail_lines=tail_lines,
            text=text,
            resume_token=resume_token,
            patience=patience,
            deadline=deadline,
            on_loss=_tell_loss,
            on_back=_tell_back,
        )
        tell = _tell_gap if on_gap is None else on_gap

        def convert(frame: StreamLogsResponse) -> LogChunk | None:
            kind = frame.WhichOneof("frame")
            if kind == "gap":
                tell(frame.gap)
            return frame.chunk if kind == "chunk" else None

        return Feed(frames, convert)

    def wait(
        self,
        experiment: str | ExperimentHandle,
        *,
        timeout: float | None = None,
        print_output: bool = False,
        patience: float = PATIENCE,
    ) -> ExperimentHandle:
        """Returns an experiment once it has ended, well or not, whatever becomes of connections.

        Args:
            experiment: its name or handle.
            timeout: seconds after which to give up; the experiment goes on.
            print_output: print its output meanwhile, from its beginning.
            patience: seconds for which it tries to reach a server again.

        Raises:
            NotFound: there is none, or it was deleted.
            Unavailable: reason DEADLINE_EXCEEDED after `timeout`; another: no server could be
                reached for `patience`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if isinstance(experiment, str):
            found = self._calls.get_experiment(full_name(experiment))
        else:
            found = experiment.experiment
        if print_output:
            self._print(found, deadline, timeout, patience)
        ended = wait(
            self._calls,
            found,
            deadline=deadline,
            timeout=timeout,
            patience=patience,
            on_loss=_tell_loss,
            on_back=_tell_back,
        )
        return self._handle(ended)

    def _print(
        self,
        experiment: Experiment,
        deadline: float | None,
        timeout: float | None,
        patience: float,
    ) -> None:
        printer = Printer(prefix=has_many_tasks(experiment))
        chunks = self.logs(experiment.name, follow=True, deadline=deadline, patience=patience)
        try:
            with chunks:
                for chunk in chunks:
                    printer.take(chunk)
        except Unavailable as error:
            raise timed_out(error, experiment.name, timeout) from error
        finally:
            printer.finish()

    def _change(self, frame: WatchExperimentsResponse) -> Change | None:
        if frame.WhichOneof("frame") != "change":
            return None
        kind = ChangeType.Name(frame.change.type).removeprefix("CHANGE_TYPE_")
        return Change(kind, self._handle(frame.change.experiment), frame.change.revision)


def _tell_loss(error: SubgrpcError) -> None:
    _log.warning("%s; trying again", error.message)


def _tell_back() -> None:
    _log.warning("connected again")


def _tell_gap(gap: LogGap) -> None:
    if not gap.task:
        _log.warning("the output of attempt %s is gone: %s", gap.attempt, gap.message)
        return
    length = f"{gap.length} bytes" if gap.length else "an unknown number of bytes"
    stream = LogStream.Name(gap.stream).removeprefix("LOG_STREAM_").lower()
    _log.warning("%s of %s's %s are lost: %s", length, gap.task, stream, gap.message)
