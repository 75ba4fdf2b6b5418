"""Blobs: how they come in, how they are kept, and how they go out again.

`Storage` is the artifact store as the event loop sees it, with the metastore's book of what is in
it. `Intake` takes blobs in pieces, `Uploads` and `Downloads` are the use cases of ArtifactService.
"""

from __future__ import annotations

from subgrpc.services.blobs.intake import Intake, Piece
from subgrpc.services.blobs.spool import Spool
from subgrpc.services.blobs.storage import Storage

__all__ = ["Intake", "Piece", "Spool", "Storage"]
