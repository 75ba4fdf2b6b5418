# Made from aio/calls.py by tools/make_sync_client.py: change that.
"""The API call by call: streams and waiting, on top of the unary calls."""

from __future__ import annotations

import time
from collections.abc import Callable

from subgrpc.client.connection import Reader
from subgrpc.client.model_calls import ModelCalls
from subgrpc.client.resume import PATIENCE
from subgrpc.client.streams import Stream
from subgrpc.client.unary import DEFAULT_PARENT
from subgrpc.client.waiting import wait
from subgrpc.errors import SubgrpcError
from subgrpc.v1 import experiment_service_pb2 as v1
from subgrpc.v1.experiment_service_pb2 import Experiment
from subgrpc.v1.types_pb2 import LogStream


class Calls(ModelCalls):
    """The methods of a client that take and return the API's own messages.

    Every method raises `SubgrpcError` subclasses: `NotFound`, `InvalidArgument` with violations,
    `Unavailable` with reason SERVER_UNREACHABLE when no server answers, and so on. Calls are tried
    again on UNAVAILABLE; mutations carry a request id, so that this is harmless.
    """

    def follow_logs(
        self,
        name: str,
        *,
        follow: bool = True,
        stream: LogStream.ValueType = LogStream.LOG_STREAM_UNSPECIFIED,
        tail_lines: int | None = None,
        later_attempts: bool = False,
        text: bool = False,
        resume_token: str = "",
        patience: float = PATIENCE,
        deadline: float | None = None,
        on_loss: Callable[[SubgrpcError], None] | None = None,
        on_back: Callable[[], None] | None = None,
    ) -> Stream[v1.StreamLogsResponse]:
        """Returns the output of an experiment, an attempt or a task: every byte once, in order.

        It goes on over lost connections, restarted and draining servers; see `Stream`.

        Args:
            name: the experiment's, attempt's or task's name.
            follow: go on until it has ended; else stop at what is there now.
            stream: only this one; by default both.
            tail_lines: start with about the last so many lines of the latest attempt.
            later_attempts: of an attempt or a task: go on with the attempts after it.
            text: chunks as `text` instead of `data`.
            resume_token: of a frame received earlier by the same request.
            patience: as in `Stream`.
            deadline: `time.monotonic()` after which it fails with `Unavailable`,
                reason DEADLINE_EXCEEDED.
            on_loss: as in `Stream`.
            on_back: as in `Stream`.
        """
        request = v1.StreamLogsRequest(
            name=name,
            stream=stream,
            follow=follow,
            tail_lines=tail_lines,
            later_attempts=later_attempts,
            format=v1.LogFormat.LOG_FORMAT_TEXT if text else v1.LogFormat.LOG_FORMAT_BYTES,
        )

        def open_call(token: str) -> Reader[v1.StreamLogsResponse]:
            request.resume_token = token
            call = self._connection.streams.StreamLogs(
                request, timeout=_left(deadline), metadata=self._connection.target.metadata
            )
            return Reader(call, self._connection)

        return Stream(
            open_call,
            address=self.address,
            resume_token=resume_token,
            patience=patience,
            deadline=deadline,
            on_loss=on_loss,
            on_back=on_back,
        )

    def watch(
        self,
        *,
        parent: str = DEFAULT_PARENT,
        filter: str = "",  # noqa: A002
        until_terminal: bool = False,
        resume_token: str = "",
        patience: float = PATIENCE,
        deadline: float | None = None,
        on_loss: Callable[[SubgrpcError], None] | None = None,
        on_back: Callable[[], None] | None = None,
    ) -> Stream[v1.WatchExperimentsResponse]:
        """Returns the experiments that match a filter, then every change in commit order.

        Args:
            parent: the team.
            filter: as in `list_experiments`.
            until_terminal: end once all that matched have ended.
            resume_token: of a frame received earlier by the same request.
            patience: as in `Stream`.
            deadline: as in `follow_logs`.
            on_loss: as in `Stream`.
            on_back: as in `Stream`.
        """
        request = v1.WatchExperimentsRequest(
            parent=parent, filter=filter, until_terminal=until_terminal
        )

        def open_call(token: str) -> Reader[v1.WatchExperimentsResponse]:
            request.resume_token = token
            call = self._connection.streams.WatchExperiments(
                request, timeout=_left(deadline), metadata=self._connection.target.metadata
            )
            return Reader(call, self._connection)

        return Stream(
            open_call,
            address=self.address,
            resume_token=resume_token,
            patience=patience,
            deadline=deadline,
            on_loss=on_loss,
            on_back=on_back,
        )

    def wait(
        self,
        name: str,
        *,
        timeout: float | None = None,
        until: Callable[[Experiment], bool] | None = None,
        patience: float = PATIENCE,
        on_loss: Callable[[SubgrpcError], None] | None = None,
        on_back: Callable[[], None] | None = None,
    ) -> Experiment:
        """Returns an experiment once it has ended, whatever happens to the connection.

        With `until`: once that holds for one of the states that it goes through; it is asked about
        every change, and may be about ends that come without what was waited for.

        Raises:
            NotFound: there is none, or it was deleted meanwhile.
            Unavailable: reason DEADLINE_EXCEEDED after `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        return wait(
            self,
            self.get_experiment(name),
            deadline=deadline,
            timeout=timeout,
            patience=patience,
            on_loss=on_loss,
            on_back=on_back,
            until=until,
        )


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(deadline - time.monotonic(), 0.0)
