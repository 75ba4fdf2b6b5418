# Made from aio/feeds.py by tools/make_sync_client.py: change that.
"""What streams bring, without the frames around it: pieces of output, changes of experiments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from subgrpc.client.resume import FrameT
from subgrpc.client.streams import Stream

ItemT = TypeVar("ItemT")


class Feed(Generic[FrameT, ItemT]):
    """An iterator over the items of a stream, which goes on over lost connections.

    Close it, or use it in `with`, to end it before its end; from anywhere. Iterating raises what
    iterating over an `Stream` raises.

    Args:
        stream: the frames.
        convert: returns a frame's item, or None for a frame without one.
    """

    def __init__(self, stream: Stream[FrameT], convert: Callable[[FrameT], ItemT | None]) -> None:
        self._stream: Stream[FrameT] = stream
        self._convert: Callable[[FrameT], ItemT | None] = convert

    @property
    def resume_token(self) -> str:
        """Where the next item starts: what `resume_token` of the same request goes on from."""
        return self._stream.resume_token

    def __iter__(self) -> Feed[FrameT, ItemT]:
        return self

    def __next__(self) -> ItemT:
        for frame in self._stream:
            item = self._convert(frame)
            if item is not None:
                return item
        raise StopIteration

    def close(self) -> None:
        """Ends the stream; the iteration then stops without an error."""
        self._stream.close()

    def __enter__(self) -> Feed[FrameT, ItemT]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
