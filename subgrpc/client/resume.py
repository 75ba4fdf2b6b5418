"""Where a broken stream goes on, and when: the decisions, without any input or output.

Every frame carries a token. When the connection breaks, or a server says that it drains, the next
one is asked to go on behind the token of the last frame that was handed out; what had been on its
way is sent again and nothing twice.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

import grpc

from subgrpc.client.statuses import from_rpc, is_connection_loss
from subgrpc.errors import SubgrpcError
from subgrpc.v1.experiment_service_pb2 import (
    BookmarkType,
    StreamLogsResponse,
    WatchExperimentsResponse,
)
from subgrpc.v1.model_registry_service_pb2 import WatchModelsResponse

FrameT = TypeVar("FrameT", StreamLogsResponse, WatchExperimentsResponse, WatchModelsResponse)

PATIENCE = 600.0
"""Seconds for which a stream tries to reach a server again."""
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 2.0


class Resumption:
    """How far a stream has come, and how it has fared with its connections.

    Args:
        address: the server's address, for error messages.
        token: where to start ("" is the beginning); later that of the last frame handed out.
        patience: seconds after which a connection that stays lost is an error.
        deadline: `time.monotonic()` behind which no pause lasts.
        on_loss: called with the error when the connection is lost; not again until it is back.
        on_back: called when frames come again after `on_loss`.
    """

    def __init__(
        self,
        *,
        address: str,
        token: str = "",
        patience: float = PATIENCE,
        deadline: float | None = None,
        on_loss: Callable[[SubgrpcError], None] | None = None,
        on_back: Callable[[], None] | None = None,
    ) -> None:
        self.token = token
        self._address = address
        self._patience = patience
        self._deadline = deadline
        self._on_loss, self._on_back = on_loss, on_back
        self._lost_since: float | None = None
        self._failures = 0

    def take(
        self, frame: StreamLogsResponse | WatchExperimentsResponse | WatchModelsResponse
    ) -> bool:
        """Notes a frame; false: the server drains, and this frame is not for the user."""
        self.token = frame.resume_token or self.token
        if frame.bookmark.type == BookmarkType.BOOKMARK_TYPE_SERVER_DRAINING:
            return False
        self._failures = 0
        if self._lost_since is not None:
            self._lost_since = None
            if self._on_back is not None:
                self._on_back()
        return True

    def lose(self, error: grpc.RpcError) -> SubgrpcError | None:
        """Notes that the call failed; returns what to raise, or None: try again after `pause`."""
        found = from_rpc(error, self._address)
        if not is_connection_loss(error):
            return found
        now = time.monotonic()
        if self._lost_since is None:
            self._lost_since = now
            if self._on_loss is not None:
                self._on_loss(found)
        return found if now - self._lost_since >= self._patience else None

    def pause(self) -> float:
        """Seconds before the next call: more each time, and never in step with other clients."""
        wait = min(_FIRST_WAIT * 2.0**self._failures, _LONGEST_WAIT) * random.uniform(0.5, 1.0)
        self._failures = min(self._failures + 1, 10)
        if self._deadline is None:
            return wait
        return min(wait, max(self._deadline - time.monotonic(), 0.0))
