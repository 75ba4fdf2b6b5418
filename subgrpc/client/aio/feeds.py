"""What streams bring, without the frames around it: pieces of output, changes of experiments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from subgrpc.client.aio.streams import AsyncStream
from subgrpc.client.resume import FrameT

ItemT = TypeVar("ItemT")


class AsyncFeed(Generic[FrameT, ItemT]):
    """An iterator over the items of a stream, which goes on over lost connections.

    Close it, or use it in `with`, to end it before its end; from anywhere. Iterating raises what
    iterating over an `AsyncStream` raises.

    Args:
        stream: the frames.
        convert: returns a frame's item, or None for a frame without one.
    """

    def __init__(
        self, stream: AsyncStream[FrameT], convert: Callable[[FrameT], ItemT | None]
    ) -> None:
        self._stream: AsyncStream[FrameT] = stream
        self._convert: Callable[[FrameT], ItemT | None] = convert

    @property
    def resume_token(self) -> str:
        """Where the next item starts: what `resume_token` of the same request goes on from."""
        return self._stream.resume_token

    def __aiter__(self) -> AsyncFeed[FrameT, ItemT]:
        return self

    async def __anext__(self) -> ItemT:
        async for frame in self._stream:
            item = self._convert(frame)
            if item is not None:
                return item
        raise StopAsyncIteration

    async def close(self) -> None:
        """Ends the stream; the iteration then stops without an error."""
        await self._stream.close()

    async def __aenter__(self) -> AsyncFeed[FrameT, ItemT]:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
