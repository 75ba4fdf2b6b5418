"""The artifact-store SPI and the content addresses. Loads neither grpc nor the server."""

from __future__ import annotations

from subgrpc.artifacts.store import ArtifactStore, SignedUrl, StoredObject, StoreSettings

__all__ = ["ArtifactStore", "SignedUrl", "StoreSettings", "StoredObject"]
