"""Finds drivers and artifact stores: pluggy hooks behind entry points, imported when asked for.

A distribution that brings a driver declares an entry point in the group `subgrpc`, named like the
driver (a store's like its URL scheme), which points at a module with a hook implementation::

    [project.entry-points.subgrpc]
    slurm = "subgrpc_slurm.plugin"

    # subgrpc_slurm/plugin.py
    from subgrpc.plugins import hookimpl

    @hookimpl
    def subgrpc_register_drivers():
        from subgrpc_slurm.driver import SlurmDriver

        return {"slurm": SlurmDriver}

Registration hands over a class; every later call is an ordinary method of `subgrpc.driver.Driver`
or `subgrpc.artifacts.ArtifactStore`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping

import pluggy

from subgrpc.artifacts import ArtifactStore, StoreSettings
from subgrpc.artifacts.failures import invalid
from subgrpc.driver import Driver
from subgrpc.errors import FailedPrecondition, InvalidArgument, SubgrpcError

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
        self._stores: dict[str, type[ArtifactStore]] = {}

    def register(self, plugin: object) -> None:
        """Adds a plugin that has no entry point: an embedding platform's, or a test's.

        Raises:
            FailedPrecondition: it registers something that is not a driver, or not a store.
        """
        self._manager.register(plugin)
        self._collect()

    def driver(self, name: str) -> type[Driver]:
        """Returns a driver's class; imports the plugin of that name and no other.

        Raises:
            InvalidArgument: no plugin of that name is installed.
            FailedPrecondition: the plugin cannot be imported, or does not register this driver.
        """
        if name not in self._drivers and not self._load(name):
            text = f"there is no driver {name!r}; installed are: {self._known()}"
            raise InvalidArgument(text, reason="DRIVER_UNKNOWN", metadata={"driver": name})
        if name not in self._drivers:
            raise _broken(name, f"is installed but registers no driver {name!r}")
        return self._drivers[name]

    def store(self, scheme: str) -> type[ArtifactStore]:
        """Returns the class of the artifact stores whose URLs have a scheme; as `driver`.

        Raises:
            InvalidArgument: no plugin of that name is installed.
            FailedPrecondition: the plugin cannot be imported, or does not register this store.
        """
        if scheme not in self._stores and not self._load(scheme):
            text = (
                f"there is no artifact store for {scheme!r} URLs; installed are: {self._known()} "
                "(s3 and hdfs come with the package subgrpc-storage)"
            )
            raise InvalidArgument(text, reason="STORE_UNKNOWN", metadata={"scheme": scheme})
        if scheme not in self._stores:
            raise _broken(scheme, f"is installed but registers no artifact store {scheme!r}")
        return self._stores[scheme]

    def installed(self) -> list[str]:
        """Returns the names of all plugins that are installed or were registered, sorted."""
        points = importlib.metadata.entry_points(group=GROUP)
        names = {point.name for point in points}
        return sorted(names | self._drivers.keys() | self._stores.keys())

    def _known(self) -> str:
        return ", ".join(self.installed()) or "none"

    def _load(self, name: str) -> bool:
        """Imports the plugin of that name; whether there is one."""
        try:
            found = self._manager.load_setuptools_entrypoints(GROUP, name=name)
            if found:
                self._collect()
        except Exception as error:
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)  # it would break those that come later
            if isinstance(error, SubgrpcError):
                raise
            text = f"cannot be imported: {type(error).__name__}: {error}"
            raise _broken(name, text) from error
        return bool(found) or self._manager.has_plugin(name)

    def _collect(self) -> None:
        for drivers in self._manager.hook.subgrpc_register_drivers():
            for name, driver in drivers.items():
                _check(name, driver, Driver)
                self._drivers.setdefault(name, driver)
        for stores in self._manager.hook.subgrpc_register_artifact_stores():
            for scheme, store in stores.items():
                _check(scheme, store, ArtifactStore)
                self._stores.setdefault(scheme, store)


def open_store(settings: StoreSettings, plugins: PluginManager) -> ArtifactStore:
    """Makes the artifact store that settings describe; touches nothing of it yet (`check` does).

    Raises:
        InvalidArgument: STORE_UNKNOWN, or STORE_INVALID: the URL or an option is wrong.
        FailedPrecondition: PLUGIN_BROKEN.
    """
    scheme, colon, _ = settings.url.partition(":")
    if not colon:
        raise invalid(settings.name, "its URL is none, such as file:///FOLDER")
    return plugins.store(scheme.lower()).from_settings(settings)


def _broken(name: str, text: str) -> FailedPrecondition:
    text = f"the plugin {name!r} {text}"
    return FailedPrecondition(text, reason="PLUGIN_BROKEN", metadata={"plugin": name})


def _check(name: str, found: object, base: type[object]) -> None:
    if not (isinstance(found, type) and issubclass(found, base)):
        kind = f"{base.__module__}.{base.__qualname__}"
        raise _broken(name, f"registers {found!r}, not a subclass of {kind}")
