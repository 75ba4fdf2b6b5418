"""Fake backends with one defect each, and the tests of the contract that find it."""

from __future__ import annotations

from collections.abc import Callable

from subgrpc.driver import Driver, Run
from subgrpc.testing.fake import RunKey
from subgrpc.testing.simulated import SimulatedBackend

DEFECTS: dict[type[Broken], set[str]] = {}
"""Every broken backend, with the tests that fail because of it."""


class Broken(SimulatedBackend):
    """A backend whose drivers have `Mixin` before their own class."""

    class Mixin:
        """Nothing."""

    def driver_class(self) -> type[Driver]:
        """A class of drivers with the defect."""
        return type("BrokenDriver", (self.Mixin, super().driver_class()), {})


def found_by(*tests: str) -> Callable[[type[Broken]], type[Broken]]:
    """Names all tests of the contract, without `test_`, that fail because of a defect."""

    def note(kind: type[Broken]) -> type[Broken]:
        DEFECTS[kind] = {f"test_{name}" for name in tests}
        return kind

    return note


def key(run: Run) -> RunKey:
    """A run's key."""
    return run.experiment_uid, run.attempt
