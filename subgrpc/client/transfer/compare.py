"""Comparing a folder with the files that an artifact has."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from subgrpc.client.transfer.manifest import DEFAULT_MODE
from subgrpc.client.transfer.results import Difference
from subgrpc.v1.artifact_service_pb2 import ArtifactFile

_WORKERS = min(4, os.cpu_count() or 1)
_BUFFER = 1 << 20


def compare(root: str, files: Sequence[ArtifactFile]) -> Iterator[Difference]:
    """Yields what is different in a folder: first what can be seen without reading files.

    A folder without files is no difference, and of permissions only whether the owner may execute
    a file. A link in the way to a file is one: it could lead anywhere.
    """
    local = dict(_walk(root))
    alike = []
    for file in files:
        found = local.pop(file.path, None)
        why = _seen(found, file)
        if why:
            yield Difference(file.path, why)
        elif file.size_bytes:
            alike.append(file)
    for path in sorted(local):
        yield Difference(path, "is not in the artifact")
    yield from compare_content(root, alike)


def compare_content(root: str, files: Sequence[ArtifactFile]) -> Iterator[Difference]:
    """Yields the files of a folder whose bytes are different."""
    with ThreadPoolExecutor(_WORKERS, "compare") as workers:
        sources = [os.path.join(root, *each.path.split("/")) for each in files]
        for file, found in zip(files, workers.map(sha256_of, sources), strict=True):
            if found != file.sha256:
                yield Difference(file.path, "has other content")


def sha256_of(source: str) -> str:
    """The SHA-256 of a file's content."""
    found = hashlib.sha256()
    buffer = memoryview(bytearray(min(_BUFFER, os.path.getsize(source) + 1)))
    with open(source, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            found.update(buffer[:count])
    return found.hexdigest()


def _seen(found: os.stat_result | str | None, file: ArtifactFile) -> str:
    """What is different without reading a file; empty: nothing."""
    if found is None:
        return "is missing"
    if isinstance(found, str) or file.link_target:
        return "" if found == file.link_target else "is another link, or none"
    if found.st_size != file.size_bytes:
        return f"has {found.st_size} bytes, not {file.size_bytes}"
    if bool(found.st_mode & 0o100) != bool((file.mode or DEFAULT_MODE) & 0o100):
        return "may be executed here, or there, and not in the other place"
    return ""


def _walk(root: str) -> Iterator[tuple[str, os.stat_result | str]]:
    """Yields the path of each file, and its status; of a link, where to."""
    ahead = [("", root)]
    while ahead:
        base, folder = ahead.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    ahead.append((f"{base}{entry.name}/", entry.path))
                elif entry.is_symlink():
                    yield base + entry.name, os.readlink(entry.path)
                else:
                    yield base + entry.name, entry.stat(follow_symlinks=False)
