"""Ends tasks for good, also those that did not hear that they were cancelled.

What a task awaits may swallow its cancellation: before Python 3.12 `asyncio.wait_for` does, where
the answer comes at the same moment. A loop around it would go on for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN = 1.0
"""Seconds until a task that goes on is cancelled again: for those with nothing to clean up."""
PATIENT = 10.0
"""The same for those that close what they use."""


async def end(tasks: Iterable[asyncio.Task[Any]], again: float = AGAIN) -> None:
    """Cancels tasks until they have ended; their results and errors are left alone."""
    going_on = set(tasks)
    while going_on:
        for task in going_on:
            task.cancel()
        _, going_on = await asyncio.wait(going_on, timeout=again)
