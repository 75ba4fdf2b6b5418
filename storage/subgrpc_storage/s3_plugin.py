"""Registers the artifact store for `s3` URLs; imported only when one is configured."""

from __future__ import annotations

from collections.abc import Mapping

from subgrpc.artifacts import ArtifactStore
from subgrpc.plugins import hookimpl


@hookimpl
def subgrpc_register_artifact_stores() -> Mapping[str, type[ArtifactStore]]:
    """The store on S3, and on servers that speak its protocol."""
    from subgrpc_storage.s3 import S3Store

    return {S3Store.scheme: S3Store}
