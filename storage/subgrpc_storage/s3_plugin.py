"""Registers the artifact store for `s3` URLs; imported only when one is configured."""

from __future__ import annotations

from collections.abc import Mapping

from subgrpc.artifacts import ArtifactStore
from subgrpc.plugins import hookimpl


@hookimpl
def subgrpc_register_artifact_stores() -> Mapping[str, type[ArtifactStore]]:
    """The store on S3, and on servers that speak its protocol."""
    try:
        from subgrpc_storage.s3 import S3Store
    except ModuleNotFoundError as error:
        text = f"{error}; pip install 'subgrpc-storage[s3]'"
        raise ModuleNotFoundError(text, name=error.name) from error
    return {S3Store.scheme: S3Store}
