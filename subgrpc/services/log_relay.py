"""What one server asks another for output that stands there, and how far its answer has come."""

from __future__ import annotations

from typing import Final

from subgrpc.errors import Unavailable
from subgrpc.services.log_frames import Cursor, FrameBuilder
from subgrpc.services.log_places import RETRY
from subgrpc.v1.experiment_service_pb2 import (
    BookmarkType,
    StreamLogsRequest,
    StreamLogsResponse,
)

_BOOKMARK: Final = StreamLogsResponse.BOOKMARK_FIELD_NUMBER
_END: Final = StreamLogsResponse.END_FIELD_NUMBER


class Relay:
    """One call to another server; its frames pass through as they are, output is not parsed."""

    def __init__(
        self, request: StreamLogsRequest, builder: FrameBuilder, cursor: Cursor, tail: int | None
    ) -> None:
        """Takes what the client asked for, and where the stream stands."""
        self.request = StreamLogsRequest()
        self.request.CopyFrom(request)
        self.request.ClearField("resume_token")
        self.request.ClearField("tail_lines")
        if tail is None:
            self.request.resume_token = builder.token(cursor)
        else:
            self.request.tail_lines = tail
        self._builder = builder
        self._before = (cursor, tail)
        self._token = b""
        self._complete: bool | None = None

    def take(self, frame: bytes) -> bool:
        """Notes a frame; returns whether it is for the client, too."""
        self._token, kind = _head(frame)
        if kind not in (_BOOKMARK, _END):
            return True
        parsed = StreamLogsResponse.FromString(frame)
        if kind == _END:
            self._complete = True
            return False
        if parsed.bookmark.type == BookmarkType.BOOKMARK_TYPE_INITIAL_STATE_COMPLETE:
            self._complete = False
        return parsed.bookmark.type == BookmarkType.BOOKMARK_TYPE_HEARTBEAT

    def end(self) -> bool:
        """The other server has ended the call: whether no more output will come.

        Raises:
            Unavailable: LOGS_UNAVAILABLE, it is stopping.
        """
        if self._complete is None:
            text = "the server that keeps the output is stopping"
            raise Unavailable(text, reason="LOGS_UNAVAILABLE", retry_after=RETRY)
        return self._complete

    def cursor(self) -> tuple[Cursor, int | None]:
        """Where the stream stands now, and the lines of a tail that has not begun."""
        if not self._token:
            return self._before
        return self._builder.open(self._token.decode()), None


def _head(frame: bytes) -> tuple[bytes, int]:
    """The token of a serialised frame, and the field that stands behind it."""
    # Servers write the token first, behind its tag and the one or two bytes of its length.
    size, start = frame[1], 2
    if size > 0x7F:
        size, start = size & 0x7F | frame[2] << 7, 3
    return frame[start : start + size], frame[start + size] >> 3
