"""ArtifactService: its store, and which use case answers which method."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from subgrpc.artifacts import StoreSettings
from subgrpc.config import ServerConfig
from subgrpc.metastore import Metastore
from subgrpc.plugins import PluginManager, open_store
from subgrpc.rpc.register import UseCase
from subgrpc.services.artifacts.care import Care
from subgrpc.services.artifacts.garbage import Collector
from subgrpc.services.artifacts.making import Making
from subgrpc.services.artifacts.use_cases import Artifacts
from subgrpc.services.blobs import Spool, Storage
from subgrpc.services.blobs.downloads import Downloads
from subgrpc.services.blobs.files import StoredFiles
from subgrpc.services.blobs.uploads import Uploads
from subgrpc.tokens import TokenCodec

STORE = "artifacts"
"""The name of the one store, in errors and logs."""


def open_storage(config: ServerConfig, metastore: Metastore, plugins: PluginManager) -> Storage:
    """The artifact store that a server is configured with; nothing of it is touched yet.

    Raises:
        InvalidArgument: STORE_UNKNOWN, STORE_INVALID.
        FailedPrecondition: PLUGIN_BROKEN.
    """
    folder = config.data_dir / "artifacts"
    url = config.artifacts
    if not url:
        kept = folder / "store"
        kept.mkdir(parents=True, exist_ok=True, mode=0o700)
        url = kept.as_uri()
    settings = StoreSettings(STORE, url, config.artifact_options)
    return Storage(metastore, open_store(settings, plugins), Spool(folder / "spool"))


def artifact_use_cases(
    storage: Storage,
    metastore: Metastore,
    tokens: TokenCodec,
    draining: asyncio.Event,
    collector: Collector,
) -> Mapping[str, UseCase]:
    """The methods of ArtifactService."""
    uploads = Uploads(storage, tokens, draining)
    downloads = Downloads(storage, StoredFiles(metastore))
    artifacts = Artifacts(metastore, tokens, Making(metastore))
    care = Care(metastore, storage, collector)
    return {
        "CreateArtifact": lambda request, call: artifacts.create(request, call.principal),
        "AddArtifactFiles": lambda request, _: artifacts.add_files(request),
        "FinishArtifact": lambda request, _: artifacts.finish(request),
        "GetArtifact": lambda request, _: artifacts.get(request),
        "ListArtifacts": lambda request, _: artifacts.list(request),
        "UpdateArtifact": lambda request, call: artifacts.update(request, call.principal),
        "DeleteArtifact": lambda request, call: artifacts.delete(request, call.principal),
        "ListArtifactFiles": lambda request, _: artifacts.list_files(request),
        "VerifyArtifact": lambda request, _: care.verify(request),
        "CollectArtifactGarbage": lambda request, _: care.collect(request),
        "FindMissingBlobs": lambda request, _: uploads.find_missing(request),
        "UploadBlobs": lambda requests, _: uploads.upload(requests),
        "GetBlobUpload": lambda request, _: uploads.get(request),
        "SignBlobUploads": lambda request, _: uploads.sign(request),
        "CommitBlobs": lambda request, _: uploads.commit(request),
        "DownloadBlobs": lambda request, _: downloads.blobs(request),
        "SignBlobDownloads": lambda request, _: downloads.sign(request),
        "DownloadArtifactFile": lambda request, _: downloads.file(request),
    }
