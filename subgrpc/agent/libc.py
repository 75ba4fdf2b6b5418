"""prctl(2): what Python has no function for."""

from __future__ import annotations

import ctypes
import os

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_prctl = ctypes.CDLL(None, use_errno=True).prctl


def become_subreaper() -> None:
    """Makes every orphaned descendant a child of this process, whatever session it is in.

    Raises:
        OSError: the kernel refuses it.
    """
    _set(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: int) -> None:
    """Lets the kernel send this process a signal when its parent dies.

    Raises:
        OSError: the kernel refuses it.
    """
    _set(_PR_SET_PDEATHSIG, number)


def _set(option: int, value: int) -> None:
    if _prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
