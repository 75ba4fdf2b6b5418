"""Lists of files: checked, brought into the form in which they are kept, and cut into batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from subgrpc.artifacts.blobs import DIGEST, MAX_BLOB
from subgrpc.errors import FieldViolation, InvalidArgument
from subgrpc.metastore import FileBatch
from subgrpc.services.artifacts.paths import Mistake, NormalForms, Tail, bad_link, first_collision
from subgrpc.v1.artifact_service_pb2 import ArtifactFile, ListArtifactFilesResponse
from subgrpc.validation import MAX_VIOLATIONS

BATCH_FILES: Final = 1_000
BATCH_BYTES: Final = 1 << 20
"""A batch is full when it has so many files, or bytes; a file is never cut."""
EMPTY: Final = hashlib.sha256().hexdigest()
DEFAULT_MODE: Final = 0o644


@dataclass(slots=True)
class Checked:
    """Files that may be kept.

    Attributes:
        files: they, in the form in which they are kept.
        blobs: the sizes of all their blobs, by digest.
        tail: how the list goes on.
        size: the sum of their sizes in bytes.
    """

    files: Sequence[ArtifactFile]
    blobs: dict[bytes, int]
    tail: Tail
    size: int


@dataclass(slots=True)
class _Check:
    """A check under way; `found` is by index of the file."""

    tail: Tail
    blobs: dict[str, int] = field(default_factory=dict)
    found: list[tuple[int, str, Mistake]] = field(default_factory=list)

    def add(self, index: int, file: ArtifactFile) -> None:
        """Checks a file, and brings it into the form in which it is kept."""
        if mistake := self.tail.add(file.path):
            self.found.append((index, "path", mistake))
        if file.link_target:
            self._link(index, file)
            return
        if file.mode & ~0o777:
            text = f"has other bits than those of permissions: {file.mode:o}; at most 777"
            self.found.append((index, "mode", (text, "MODE")))
        file.mode = file.mode or DEFAULT_MODE
        if not DIGEST.fullmatch(file.sha256):
            self.found.append((index, "sha256", _not_a_digest(file.sha256)))
        else:
            self._content(index, file)

    def _link(self, index: int, file: ArtifactFile) -> None:
        if problem := bad_link(file.path, file.link_target):
            self.found.append((index, "link_target", (problem, "LINK")))
        if file.size_bytes or file.sha256 or file.chunks or file.mode:
            text = "a link has no size, digest, chunks or mode"
            self.found.append((index, "link_target", (text, "LINK")))

    def _content(self, index: int, file: ArtifactFile) -> None:
        chunks, size, digest = file.chunks, file.size_bytes, file.sha256
        if not chunks and 0 < size <= MAX_BLOB:
            chunks.add(digest=digest, size_bytes=size)
        if chunks:
            self._chunks(index, file)
        elif size == 0:
            if digest != EMPTY:
                self.found.append((index, "sha256", ("is not that of no bytes", "DIGEST")))
        else:
            text = f"is {size}; allowed is 0 to {MAX_BLOB} without chunks, and their sum with them"
            self.found.append((index, "size_bytes", (text, "OUT_OF_RANGE")))

    def _chunks(self, index: int, file: ArtifactFile) -> None:
        total = 0
        for number, chunk in enumerate(file.chunks):
            digest, size = chunk.digest, chunk.size_bytes
            total += size
            if digest != file.sha256 and not DIGEST.fullmatch(digest):
                self.found.append((index, f"chunks[{number}].digest", _not_a_digest(digest)))
            elif not 0 < size <= MAX_BLOB:
                text = f"is {size}; allowed is 1 to {MAX_BLOB}"
                self.found.append((index, f"chunks[{number}].size_bytes", (text, "OUT_OF_RANGE")))
            elif self.blobs.setdefault(digest, size) != size:
                self.found.append((index, f"chunks[{number}].size_bytes", _two_sizes(digest)))
        if total != file.size_bytes:
            text = f"is {file.size_bytes}; its chunks have {total} bytes"
            self.found.append((index, "size_bytes", (text, "SIZE")))
        elif len(file.chunks) == 1 and file.chunks[0].digest != file.sha256:
            text = "is not that of its only chunk"
            self.found.append((index, "sha256", (text, "DIGEST")))


def check(files: Sequence[ArtifactFile], tail: Tail) -> Checked:
    """Checks files that follow others; changes them, and the tail.

    Raises:
        InvalidArgument: with the first mistakes, in fields such as `files[17].path`.
    """
    checking = _Check(tail)
    for index, file in enumerate(files):
        checking.add(index, file)
        if len(checking.found) >= MAX_VIOLATIONS:
            break
    found = checking.found
    if tail.normalised and not found:
        paths = [file.path for file in files]
        found += ((index, "path", mistake) for index, mistake in colliding(paths))
    if found:
        violations = [
            FieldViolation(f"files[{index}].{name}", text, word)
            for index, name, (text, word) in found[:MAX_VIOLATIONS]
        ]
        raise InvalidArgument(violations=violations)
    blobs = {bytes.fromhex(digest): size for digest, size in checking.blobs.items()}
    return Checked(files, blobs, tail, sum(file.size_bytes for file in files))


def colliding(paths: Sequence[str]) -> Iterator[tuple[int, Mistake]]:
    """Which of some paths are the same as others after Unicode normalisation."""
    forms = NormalForms()
    for path in paths:
        forms.note(path)
    yield from first_collision(paths, forms)


def batches(files: Sequence[ArtifactFile], last: FileBatch | None) -> list[FileBatch]:
    """Cuts files into batches.

    Args:
        files: as `check` left them.
        last: the batch before them, which they fill up; None: there is none.

    Returns:
        New batches, and `last` if there is more in it now.
    """
    made: list[FileBatch] = []
    number = 0 if last is None else last.number + 1
    begin = 0
    if last is not None and (room := _room(last)):
        begin = _end(files, 0, room, BATCH_BYTES - len(last.body))
        if begin:
            body = last.body + _serialised(files[:begin])
            made.append(last._replace(file_count=last.file_count + begin, body=body))
    while begin < len(files):
        end = max(_end(files, begin, BATCH_FILES, BATCH_BYTES), begin + 1)
        portion = files[begin:end]
        made.append(FileBatch(number, portion[0].path, len(portion), _serialised(portion)))
        number, begin = number + 1, end
    return made


def parsed(batch: FileBatch) -> Sequence[ArtifactFile]:
    """The files of a batch."""
    return ListArtifactFilesResponse.FromString(batch.body).files


def digest_text(files: Sequence[ArtifactFile]) -> bytes:
    """What `Artifact.digest` is the digest of, for these files."""
    return "".join(
        [
            f"{hashlib.sha256(file.link_target.encode()).hexdigest()} 120000 0 {file.path}\0"
            if file.link_target
            else f"{file.sha256} {file.mode:o} {file.size_bytes} {file.path}\0"
            for file in files
        ]
    ).encode()


def _room(batch: FileBatch) -> int:
    """How many files a batch can take."""
    return BATCH_FILES - batch.file_count if len(batch.body) < BATCH_BYTES else 0


def _end(files: Sequence[ArtifactFile], begin: int, count: int, size: int) -> int:
    """Where a portion ends that has at most so many files and bytes."""
    for index in range(begin, min(begin + count, len(files))):
        size -= files[index].ByteSize() + 4
        if size < 0:
            return index
    return min(begin + count, len(files))


def _serialised(files: Sequence[ArtifactFile]) -> bytes:
    return ListArtifactFilesResponse(files=files).SerializeToString(deterministic=True)


def _not_a_digest(text: str) -> Mistake:
    return f"{text[:80]!r} is not a SHA-256 as 64 lower-case hexadecimal digits", "PATTERN"


def _two_sizes(digest: str) -> Mistake:
    return f"blob {digest} has another size elsewhere in the request", "SIZE"
