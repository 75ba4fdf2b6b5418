"""Streams that outlive their connection: every frame once, in order, whatever breaks between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

import grpc

from subgrpc.client.aio.connection import AsyncFlag, AsyncReader
from subgrpc.client.resume import PATIENCE, FrameT, Resumption
from subgrpc.errors import SubgrpcError


class AsyncStream(Generic[FrameT]):
    """An iterator over the frames of a stream, without its draining bookmarks.

    Args:
        open_call: starts the call from a resume token ("" is the beginning).
        address: the server's address, for error messages.
        resume_token: where to start.
        patience: seconds after which a connection that stays lost is an error.
        deadline: `time.monotonic()` behind which it does not wait for another try.
        on_loss: called with the error when the connection is lost; not again until it is back.
        on_back: called when frames come again after `on_loss`.

    Iterating raises `SubgrpcError` for everything that connecting again cannot cure, and the
    `Unavailable` that was met last when `patience` is over. An iteration that is interrupted while
    it waits goes on with the next frame when it is continued.
    """

    def __init__(
        self,
        open_call: Callable[[str], AsyncReader[FrameT]],
        *,
        address: str,
        resume_token: str = "",
        patience: float = PATIENCE,
        deadline: float | None = None,
        on_loss: Callable[[SubgrpcError], None] | None = None,
        on_back: Callable[[], None] | None = None,
    ) -> None:
        self._open_call: Callable[[str], AsyncReader[FrameT]] = open_call
        self._resumption = Resumption(
            address=address,
            token=resume_token,
            patience=patience,
            deadline=deadline,
            on_loss=on_loss,
            on_back=on_back,
        )
        self._closed = AsyncFlag()
        self._reader: AsyncReader[FrameT] | None = None

    @property
    def resume_token(self) -> str:
        """The token of the last frame that was handed out."""
        return self._resumption.token

    def __aiter__(self) -> AsyncStream[FrameT]:
        return self

    async def __anext__(self) -> FrameT:
        while not self._closed.is_set():
            try:
                frame = await self._read()
            except grpc.RpcError as error:
                self._drop()
                if self._closed.is_set():
                    break
                fatal = self._resumption.lose(error)
                if fatal is not None:
                    self._closed.set()
                    raise fatal from error
            except BaseException:
                self._drop()
                raise
            else:
                if frame is None:
                    await self.close()
                    break
                if self._resumption.take(frame):
                    return frame
                self._drop()
            await self._closed.pause(self._resumption.pause())
        raise StopAsyncIteration

    async def close(self) -> None:
        """Ends the stream, from anywhere; the iteration then stops without an error."""
        self._closed.set()
        self._drop()

    async def __aenter__(self) -> AsyncStream[FrameT]:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _read(self) -> FrameT | None:
        reader = self._reader
        if reader is None:
            reader = self._reader = self._open_call(self._resumption.token)
            if self._closed.is_set():  # meanwhile, by somebody who saw no call to cancel
                return None
        return await reader.read()

    def _drop(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
