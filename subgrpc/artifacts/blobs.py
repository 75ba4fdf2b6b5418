"""Digests and keys: how content is named."""

from __future__ import annotations

import re
from typing import Final

DIGEST: Final = re.compile(r"[0-9a-f]{64}")
"""A SHA-256 as the API writes it."""
MAX_BLOB: Final = 64 << 20
"""Greatest size of a blob in bytes."""
OBJECTS: Final = "objects/"
"""What the keys of all objects begin with that hold blobs."""


def object_key(sha256: bytes, object_id: str) -> str:
    """The key of an object: by its content, and never used twice, thanks to its id (a uid)."""
    digest = sha256.hex()
    return f"{OBJECTS}{digest[:2]}/{digest}.{object_id}"


def object_id(key: str) -> str | None:
    """The id in a key that `object_key` made; None: it did not."""
    found = re.fullmatch(OBJECTS + r"([0-9a-f]{2})/(\1[0-9a-f]{62})\.([0-9a-v]{26})", key)
    return None if found is None else found[3]
