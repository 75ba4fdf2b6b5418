"""The limit: a bare grpc.aio server on uvloop that does nothing but answer.

    python -m benchmarks.bare SIZE…

`/bare/answerSIZE` answers every request with so many bytes; `/bare/stream` sends what its request
asks for (a number of bytes, as text) in chunks of 64 KiB. It prints its address once it serves.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import uvloop

CHUNK = 64 * 1024


def _answer(size: int) -> Callable[[bytes, Any], Awaitable[bytes]]:
    content = os.urandom(size)

    async def answer(_: bytes, __: Any) -> bytes:
        return content

    return answer


async def _stream(request: bytes, context: Any) -> None:
    left = int(request)
    content = os.urandom(CHUNK)
    await context.send_initial_metadata(())
    while left > 0:
        await context.write(content[:left] if left < CHUNK else content)
        left -= CHUNK


async def _serve(sizes: list[int]) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        f"answer{size}": grpc.unary_unary_rpc_method_handler(_answer(size)) for size in sizes
    }
    handlers["stream"] = grpc.unary_stream_rpc_method_handler(_stream)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bare", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await stop.wait()
    await server.stop(0)


if __name__ == "__main__":
    uvloop.run(_serve([int(each) for each in sys.argv[1:]]))
