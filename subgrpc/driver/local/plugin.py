"""Registers the driver `local`, as a plugin of a third party would."""

from __future__ import annotations

from collections.abc import Mapping

from subgrpc.driver import Driver
from subgrpc.plugins import hookimpl


@hookimpl
def subgrpc_register_drivers() -> Mapping[str, type[Driver]]:
    """The local driver; imported only when a cluster uses it."""
    from subgrpc.driver.local.driver import LocalDriver

    return {LocalDriver.name: LocalDriver}
