"""Registers the artifact store `file`, as a plugin of a third party would."""

from __future__ import annotations

from collections.abc import Mapping

from subgrpc.artifacts.store import ArtifactStore
from subgrpc.plugins import hookimpl


@hookimpl
def subgrpc_register_artifact_stores() -> Mapping[str, type[ArtifactStore]]:
    """The store of folders; imported only where one is configured."""
    from subgrpc.artifacts.filestore import FileStore

    return {FileStore.scheme: FileStore}
