"""Compares files with what a store has of them: in a thread, one piece in memory at a time."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from subgrpc.artifacts import ArtifactStore
from subgrpc.errors import DataLoss, NotFound
from subgrpc.metastore import BlobPlace
from subgrpc.v1.artifact_service_pb2 import ArtifactFile, DamagedFile

GAP: Final = 1 << 20
"""So many bytes that nobody asked for are read rather than to ask the store once more."""

Places = Mapping[bytes, BlobPlace]


class Verdict(NamedTuple):
    """What was found.

    Attributes:
        files: how many were compared.
        size: their bytes.
        damaged: those that are.
    """

    files: int
    size: int
    damaged: list[DamagedFile]


class _Stopped(Exception):
    """Nobody waits for the verdict any more."""


def compare(
    store: ArtifactStore, files: Sequence[ArtifactFile], places: Places, stop: threading.Event
) -> Verdict:
    """Reads files and compares them with their digests.

    Args:
        store: where their blobs are.
        files: the files.
        places: where their blobs are in it.
        stop: set when nobody waits for the verdict any more.

    Raises:
        SubgrpcError: the store cannot be read now.
    """
    reader = _Reader(store, places, stop)
    damaged: list[DamagedFile] = []
    try:
        # A file of one chunk is right if its blob is; many of those are read together.
        wrong = reader.blobs({each.chunks[0].digest for each in files if len(each.chunks) == 1})
        for file in files:
            if len(file.chunks) == 1:
                problem = wrong.get(file.chunks[0].digest, "")
            else:
                problem = reader.file(file)
            if problem:
                damaged.append(DamagedFile(path=file.path, message=problem))
    except _Stopped:
        pass
    return Verdict(len(files), sum(each.size_bytes for each in files), damaged)


class _Reader:
    def __init__(self, store: ArtifactStore, places: Places, stop: threading.Event) -> None:
        self._store = store
        self._places = places
        self._stop = stop

    def blobs(self, digests: set[str]) -> dict[str, str]:
        """What is wrong with which of some blobs."""
        wrong: dict[str, str] = {}
        found: list[BlobPlace] = []
        for digest in digests:
            place = self._places.get(bytes.fromhex(digest))
            if place is None:
                wrong[digest] = f"blob {digest} is not known to be anywhere"
            else:
                found.append(place)
        for span in _spans(found):
            self._span(span, wrong)
        return wrong

    def file(self, file: ArtifactFile) -> str:
        """What is wrong with a file of several chunks, or none; empty: nothing."""
        whole = hashlib.sha256()
        for chunk in file.chunks:
            place = self._places.get(bytes.fromhex(chunk.digest))
            if place is None:
                return f"blob {chunk.digest} is not known to be anywhere"
            blob, size = hashlib.sha256(), 0
            try:
                for piece in self._pieces(place.key, place.start, place.size):
                    blob.update(piece)
                    whole.update(piece)
                    size += len(piece)
            except (NotFound, DataLoss) as error:
                return error.message
            if blob.digest() != place.digest:
                return _different(place, size)
        if not file.link_target and whole.hexdigest() != file.sha256:
            return f"its chunks are right, but together they have the SHA-256 {whole.hexdigest()}"
        return ""

    def _span(self, places: Sequence[BlobPlace], wrong: dict[str, str]) -> None:
        """Reads blobs of one object, which lie behind each other, at one go."""
        start, done = places[0].start, 0
        end = places[-1].start + places[-1].size
        try:
            pieces = self._pieces(places[0].key, start, end - start)
            data, at = b"", start
            for place in places:
                hasher, left = hashlib.sha256(), place.size
                while left:
                    skipped = place.start + place.size - left - at
                    if skipped >= len(data):
                        at += len(data)
                        data = next(pieces, b"")
                        if not data:
                            break
                        continue
                    taken = data[skipped : skipped + left]
                    hasher.update(taken)
                    left -= len(taken)
                if hasher.digest() != place.digest:
                    wrong[place.digest.hex()] = _different(place, place.size - left)
                done += 1
        except (NotFound, DataLoss) as error:
            wrong.update((place.digest.hex(), error.message) for place in places[done:])

    def _pieces(self, key: str, start: int, length: int) -> Iterator[bytes]:
        for piece in self._store.get(key, start, length):
            if self._stop.is_set():
                raise _Stopped
            yield piece


def _spans(places: Sequence[BlobPlace]) -> Iterator[list[BlobPlace]]:
    """Blobs that are worth reading together."""
    span: list[BlobPlace] = []
    for place in sorted(places, key=lambda each: (each.key, each.start)):
        if span:
            last = span[-1]
            if last.key != place.key or not 0 <= place.start - last.start - last.size <= GAP:
                yield span
                span = []
        span.append(place)
    if span:
        yield span


def _different(place: BlobPlace, size: int) -> str:
    text = f"blob {place.digest.hex()} is not what was stored"
    return text if size == place.size else f"{text}: there are {size} of {place.size} bytes"
