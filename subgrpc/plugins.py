"""Finds drivers: pluggy hooks behind entry points, imported only when a cluster asks for them.

A distribution that brings a driver declares an entry point in the group `subgrpc`, named like the
driver, which points at a module with a hook implementation::

    [project.entry-points.subgrpc]
    slurm = "subgrpc_slurm.plugin"

    # subgrpc_slurm/plugin.py
    from subgrpc.plugins import hookimpl

    @hookimpl
    def subgrpc_register_drivers():
        from subgrpc_slurm.driver import SlurmDriver

        return {"slurm": SlurmDriver}

Registration hands over a class; every later call is an ordinary method of `subgrpc.driver.Driver`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping

import pluggy

from subgrpc.artifacts import ArtifactStore
from subgrpc.driver import Driver
from subgrpc.errors import FailedPrecondition, InvalidArgument

GROUP = "subgrpc"
"""The entry-point group, and the name of the pluggy project."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Hooks:
    """What a plugin may implement."""

    @hookspec
    def subgrpc_register_drivers(self) -> Mapping[str, type[Driver]]:
        """Returns driver classes by name; the name is also that of the entry point."""
        raise AssertionError("a specification is never called")

    @hookspec
    def subgrpc_register_artifact_stores(self) -> Mapping[str, type[ArtifactStore]]:
        """Returns store classes by URL scheme; the scheme is also the name of the entry point."""
        raise AssertionError("a specification is never called")


class PluginManager:
    """Loads plugins by name and hands out what they register."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(Hooks)
        self._drivers: dict[str, type[Driver]] = {}

    def register(self, plugin: object) -> None:
        """Adds a plugin that has no entry point: an embedding platform's, or a test's.

        Raises:
            FailedPrecondition: it registers something that is not a driver.
        """
        self._manager.register(plugin)
        self._collect()

    def driver(self, name: str) -> type[Driver]:
        """Returns a driver's class; imports the plugin of that name and no other.

        Raises:
            InvalidArgument: no plugin of that name is installed.
            FailedPrecondition: the plugin cannot be imported, or does not register this driver.
        """
        if name not in self._drivers:
            self._load(name)
        driver = self._drivers.get(name)
        if driver is None:
            text = f"the plugin {name!r} is installed but registers no driver {name!r}"
            raise FailedPrecondition(text, reason="PLUGIN_BROKEN", metadata={"plugin": name})
        return driver

    def installed(self) -> list[str]:
        """Returns the names of all plugins that are installed or were registered, sorted."""
        points = importlib.metadata.entry_points(group=GROUP)
        return sorted({point.name for point in points} | self._drivers.keys())

    def _load(self, name: str) -> None:
        try:
            found = self._manager.load_setuptools_entrypoints(GROUP, name=name)
        except Exception as error:
            text = f"the plugin {name!r} cannot be imported: {type(error).__name__}: {error}"
            raise FailedPrecondition(
                text, reason="PLUGIN_BROKEN", metadata={"plugin": name}
            ) from error
        if not found and not self._manager.has_plugin(name):
            known = ", ".join(self.installed()) or "none"
            text = f"there is no driver {name!r}; installed are: {known}"
            raise InvalidArgument(text, reason="DRIVER_UNKNOWN", metadata={"driver": name})
        self._collect()

    def _collect(self) -> None:
        for drivers in self._manager.hook.subgrpc_register_drivers():
            for name, driver in drivers.items():
                if not (isinstance(driver, type) and issubclass(driver, Driver)):
                    text = f"driver {name!r} is {driver!r}, not a subclass of subgrpc.driver.Driver"
                    raise FailedPrecondition(text, reason="PLUGIN_BROKEN")
                self._drivers.setdefault(name, driver)
