"""Registers the artifact store for `hdfs` URLs; imported only when one is configured."""

from __future__ import annotations

from collections.abc import Mapping

from subgrpc.artifacts import ArtifactStore
from subgrpc.plugins import hookimpl


@hookimpl
def subgrpc_register_artifact_stores() -> Mapping[str, type[ArtifactStore]]:
    """The store of the Hadoop distributed file system, over WebHDFS."""
    try:
        from subgrpc_storage.hdfs import HdfsStore
    except ModuleNotFoundError as error:
        text = f"{error}; pip install 'subgrpc-storage[hdfs]'"
        raise ModuleNotFoundError(text, name=error.name) from error
    return {HdfsStore.scheme: HdfsStore}
