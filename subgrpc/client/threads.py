"""Running a transfer of files for a client that blocks: in the thread that asks for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from subgrpc.client.channel import Target
from subgrpc.client.connection import Connection
from subgrpc.client.statuses import client_closed

if TYPE_CHECKING:
    from subgrpc.client.calls import Calls

T = TypeVar("T")
Work: TypeAlias = "Callable[[Calls, Target, threading.Event], T]"
"""Work that blocks: it gets the server, the same for streams, and a sign that it shall stop."""


def in_threads(connection: Connection, work: Work[T]) -> T:
    """Does some work over connections of its own.

    Raises:
        FailedPrecondition: reason CLIENT_CLOSED.
    """
    if connection.closed:
        raise client_closed()
    return do_work(connection.target, connection.timeout, work, threading.Event())


def do_work(target: Target, timeout: float, work: Work[T], stop: threading.Event) -> T:
    """Does some work over connections that are closed behind it."""
    from subgrpc.client.calls import Calls  # it is made of what stands above this

    own = Connection(target, timeout)
    try:
        return work(Calls(own), target, stop)
    finally:
        own.close()
