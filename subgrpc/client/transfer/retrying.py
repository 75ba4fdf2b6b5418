"""Unary calls that outlast a server that restarts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from subgrpc.client.patience import Patience
from subgrpc.errors import Unavailable

T = TypeVar("T")


def retrying(call: Callable[[], T], patience: float) -> T:
    """Returns what a call returns, which may be repeated for so many seconds.

    Raises:
        SubgrpcError: it failed, or no server could be reached all the while.
    """
    state = Patience(patience)
    while True:
        try:
            return call()
        except Unavailable:
            if state.is_over():
                raise
        time.sleep(state.pause())
