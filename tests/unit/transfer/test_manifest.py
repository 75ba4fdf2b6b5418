"""The list of files of an artifact."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from subgrpc.client.transfer import manifest
from subgrpc.v1.artifact_service_pb2 import AddArtifactFilesRequest, ArtifactFile


def test_the_digest_is_as_the_api_says() -> None:
    """Of "SHA256 MODE SIZE PATH" and NUL; a link's is that of its target."""
    empty = hashlib.sha256().hexdigest()
    files = [
        ArtifactFile(path="a b", sha256=empty, mode=0o755),
        ArtifactFile(path="c", sha256="ff", size_bytes=12),
        ArtifactFile(path="l", link_target="a b"),
    ]
    target = hashlib.sha256(b"a b").hexdigest()
    text = f"{empty} 755 0 a b\0ff 644 12 c\0{target} 120000 0 l\0"
    assert manifest.digest(files) == hashlib.sha256(text.encode()).hexdigest()


@given(st.lists(st.integers(0, 3000), max_size=30))
def test_portions_fit_into_messages(chunks: list[int]) -> None:
    """All files, in order, in as many messages as it takes; an empty list is one portion."""
    files = []
    for number, count in enumerate(chunks):
        entry = ArtifactFile(path=f"{number:05}", sha256="f" * 64)
        for _ in range(count):
            entry.chunks.add(digest="f" * 64, size_bytes=4 << 20)
        files.append(entry)
    portions = list(manifest.portions(files))
    assert [each for portion in portions for each in portion] == files
    assert len(portions) == 1 or all(portions)
    for portion in portions:
        size = AddArtifactFilesRequest(files=portion).ByteSize()
        assert size < 4_000_000 or len(portion) == 1
