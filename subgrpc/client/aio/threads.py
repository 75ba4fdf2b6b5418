"""Running a transfer of files for asyncio: in threads, beside the event loop."""

from __future__ import annotations

import asyncio
import threading

from subgrpc.client.aio.connection import AsyncConnection
from subgrpc.client.statuses import client_closed
from subgrpc.client.threads import T, Work, do_work


async def async_in_threads(connection: AsyncConnection, work: Work[T]) -> T:
    """Does some work over connections of its own; when it is cancelled, the work is stopped.

    Raises:
        FailedPrecondition: reason CLIENT_CLOSED.
    """
    if connection.closed:
        raise client_closed()
    stop = threading.Event()
    doing = asyncio.ensure_future(
        asyncio.to_thread(do_work, connection.target, connection.timeout, work, stop)
    )
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([doing])
        doing.exception()  # what it was stopped with is nobody's business
        raise
