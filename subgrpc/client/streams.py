"""Streams that outlive their connection: every frame once, in order, whatever breaks between.

Every frame carries a token. When the connection breaks, or a server says that it drains, the next
one is asked to go on behind the token of the last frame that was handed out; what had been on its
way is sent again and nothing twice.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Generic, Protocol, TypeVar

import grpc

from subgrpc.client.statuses import from_rpc, is_connection_loss
from subgrpc.errors import SubgrpcError
from subgrpc.v1.experiment_service_pb2 import (
    BookmarkType,
    StreamLogsResponse,
    WatchExperimentsResponse,
)

FrameT = TypeVar("FrameT", StreamLogsResponse, WatchExperimentsResponse)
FrameT_co = TypeVar("FrameT_co", covariant=True)

PATIENCE = 600.0
"""Seconds for which a stream tries to reach a server again."""
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 2.0


class Call(Protocol[FrameT_co]):
    """A running call that yields frames."""

    def __iter__(self) -> Iterator[FrameT_co]:
        """The frames."""

    def cancel(self) -> bool:
        """Ends the call."""


class Stream(Generic[FrameT]):
    """An iterator over the frames of a stream, without its draining bookmarks.

    Args:
        open_call: starts the call from a resume token ("" is the beginning).
        address: the server's address, for error messages.
        resume_token: where to start.
        patience: seconds after which a connection that stays lost is an error.
        on_loss: called with the error when the connection is lost; not again until it is back.
        on_back: called when frames come again after `on_loss`.

    Iterating raises `SubgrpcError` for everything that connecting again cannot cure, and the
    `Unavailable` that was met last when `patience` is over.
    """

    def __init__(
        self,
        open_call: Callable[[str], Call[FrameT]],
        *,
        address: str,
        resume_token: str = "",
        patience: float = PATIENCE,
        on_loss: Callable[[SubgrpcError], None] | None = None,
        on_back: Callable[[], None] | None = None,
    ) -> None:
        self.resume_token = resume_token
        """The token of the last frame that was handed out."""
        self._open_call: Callable[[str], Call[FrameT]] = open_call
        self._address = address
        self._patience = patience
        self._on_loss, self._on_back = on_loss, on_back
        self._lost_since: float | None = None
        self._failures = 0
        self._closed = threading.Event()
        self._call: Call[FrameT] | None = None

    def __iter__(self) -> Iterator[FrameT]:
        while not self._closed.is_set():
            try:
                ended = yield from self._one_call()
            except grpc.RpcError as error:
                if self._closed.is_set():
                    return
                if not is_connection_loss(error):
                    raise from_rpc(error, self._address) from error
                self._note_loss(from_rpc(error, self._address))
            else:
                if ended:
                    return
            self._pause()

    def close(self) -> None:
        """Ends the stream, from any thread; the iteration then stops without an error."""
        self._closed.set()
        if self._call is not None:
            self._call.cancel()

    def __enter__(self) -> Stream[FrameT]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _one_call(self) -> Generator[FrameT, None, bool]:
        """Yields what one call brings; returns whether it was the whole stream."""
        call = self._call = self._open_call(self.resume_token)
        try:
            for frame in call:
                self.resume_token = frame.resume_token or self.resume_token
                if frame.bookmark.type == BookmarkType.BOOKMARK_TYPE_SERVER_DRAINING:
                    return False
                self._note_frame()
                yield frame
            return True
        finally:
            call.cancel()

    def _note_frame(self) -> None:
        self._failures = 0
        if self._lost_since is not None:
            self._lost_since = None
            if self._on_back is not None:
                self._on_back()

    def _note_loss(self, error: SubgrpcError) -> None:
        now = time.monotonic()
        if self._lost_since is None:
            self._lost_since = now
            if self._on_loss is not None:
                self._on_loss(error)
        if now - self._lost_since >= self._patience:
            raise error

    def _pause(self) -> None:
        """Waits before the next call: longer each time, and never in step with other clients."""
        wait = min(_FIRST_WAIT * 2.0**self._failures, _LONGEST_WAIT)
        self._failures = min(self._failures + 1, 10)
        self._closed.wait(wait * random.uniform(0.5, 1.0))
