"""The list of files of an artifact: its digest, and the portions in which it is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from subgrpc.client.transfer.cutting import Cut
from subgrpc.client.transfer.scan import LocalFile
from subgrpc.v1.artifact_service_pb2 import ArtifactFile

DEFAULT_MODE = 0o644
_LINK_MODE = "120000"
_PORTION = 3 << 20
"""Bytes of a message: gRPC's servers take 4 MiB."""
_MOST_FILES = 20_000


def entry(cut: Cut) -> ArtifactFile:
    """The entry of a file that was read."""
    made = ArtifactFile(
        path=cut.file.path, size_bytes=cut.file.size, sha256=cut.sha256, mode=cut.file.mode
    )
    if len(cut.pieces) > 1:
        for piece in cut.pieces:
            made.chunks.add(digest=piece.digest, size_bytes=piece.size)
    return made


def link(file: LocalFile) -> ArtifactFile:
    """The entry of a symbolic link."""
    return ArtifactFile(path=file.path, link_target=file.link_target)


def digest(entries: Iterable[ArtifactFile]) -> str:
    """`Artifact.digest` of files in the order of their paths."""
    whole = hashlib.sha256()
    for each in entries:
        if each.link_target:
            sha256 = hashlib.sha256(each.link_target.encode()).hexdigest()
            line = f"{sha256} {_LINK_MODE} 0 {each.path}\0"
        else:
            mode = each.mode or DEFAULT_MODE
            line = f"{each.sha256} {mode:o} {each.size_bytes} {each.path}\0"
        whole.update(line.encode())
    return whole.hexdigest()


def portions(entries: Iterable[ArtifactFile]) -> Iterator[list[ArtifactFile]]:
    """Yields the files in portions, each of which fits into one message; at least one."""
    portion: list[ArtifactFile] = []
    size = 0
    for each in entries:
        bytes_of_it = each.ByteSize() + 8
        if portion and (size + bytes_of_it > _PORTION or len(portion) == _MOST_FILES):
            yield portion
            portion, size = [], 0
        portion.append(each)
        size += bytes_of_it
    yield portion
