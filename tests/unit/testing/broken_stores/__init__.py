"""Artifact stores with one defect each, and the tests of the contract that find it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tests.unit.testing.broken_stores.served import ServedStore

Kind = TypeVar("Kind", bound=type[ServedStore])
DEFECTS: dict[type[ServedStore], set[str]] = {}
"""Every broken store, with the tests that fail because of it."""


def found_by(*tests: str) -> Callable[[Kind], Kind]:
    """Names all tests of the contract, without `test_`, that fail because of a defect."""

    def note(kind: Kind) -> Kind:
        DEFECTS[kind] = {f"test_{name}" for name in tests}
        return kind

    return note
