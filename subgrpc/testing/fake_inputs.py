"""The part of the fake driver that takes inputs."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence

from subgrpc.driver import FilePiece, InputContent, InputFile, SupportsInputs, WorkloadInput
from subgrpc.errors import DataLoss, Unavailable

Inputs = dict[str, dict[str, bytes]]
"""The files of inputs, by path, by digest."""
_PIECE = 1 << 20


class GivenFiles:
    """Files in memory as the content of an input (`subgrpc.driver.InputContent`).

    Attributes:
        reads: how often its files were asked for.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self.reads = 0

    def wanted(self, name: str) -> WorkloadInput:
        """The input that these files are."""
        lines = (
            f"{hashlib.sha256(data).hexdigest()} 644 {len(data)} {path}\0"
            for path, data in sorted(self._files.items(), key=lambda item: item[0].encode())
        )
        digest = hashlib.sha256("".join(lines).encode()).hexdigest()
        size = sum(map(len, self._files.values()))
        return WorkloadInput(
            name=name, digest=digest, artifact=name, file_count=len(self._files), size_bytes=size
        )

    async def files(self) -> AsyncIterator[Sequence[InputFile]]:
        """All files, in batches."""
        self.reads += 1
        paths = sorted(self._files, key=str.encode)
        for start in range(0, len(paths), 1000):
            yield [self._file(path) for path in paths[start : start + 1000]]

    async def read(self, files: Sequence[InputFile]) -> AsyncIterator[FilePiece]:
        """Their content, the last file first: the order is free."""
        for number in reversed(range(len(files))):
            data = self._files[files[number].path]
            for start in range(0, len(data), _PIECE):
                yield FilePiece(file=number, offset=start, data=data[start : start + _PIECE])

    def _file(self, path: str) -> InputFile:
        data = self._files[path]
        digest = hashlib.sha256(data).hexdigest()
        return InputFile(path=path, size_bytes=len(data), mode=0o644, sha256=digest)


class FakeInputs(SupportsInputs):
    """Keeps inputs in memory."""

    @abstractmethod
    async def inputs(self) -> Inputs:
        """What the backend has, unless it cannot be reached."""

    async def has_input(self, wanted: WorkloadInput) -> bool:
        """Whether it was put."""
        return wanted.digest in await self.inputs()

    async def put_input(self, wanted: WorkloadInput, content: InputContent) -> None:
        """Takes it, once it is there as a whole, and what it should be."""
        inputs = await self.inputs()
        if wanted.digest in inputs:
            return
        found: dict[str, bytes] = {}
        lines = []
        async for files in content.files():
            parts: list[dict[int, bytes]] = [{} for _ in files]
            async for piece in content.read(files):
                parts[piece.file][piece.offset] = piece.data
            for file, pieces in zip(files, parts, strict=True):
                data = b"".join(pieces[offset] for offset in sorted(pieces))
                if hashlib.sha256(data).hexdigest() != file.sha256:
                    text = f"{file.path!r} is not what its digest says"
                    raise DataLoss(text, reason="INPUT_DAMAGED")
                found[file.path] = data
                lines.append(f"{file.sha256} {file.mode:o} {file.size_bytes} {file.path}\0")
        if hashlib.sha256("".join(lines).encode()).hexdigest() != wanted.digest:
            raise DataLoss("these are other files", reason="INPUT_DAMAGED")
        inputs[wanted.digest] = found

    async def check_inputs(self, wanted: Sequence[WorkloadInput]) -> None:
        """For `submit`. Raises Unavailable INPUT_MISSING."""
        inputs = await self.inputs() if wanted else {}
        for each in wanted:
            if each.digest not in inputs:
                text = f"the backend does not have the input {each.digest}"
                raise Unavailable(text, reason="INPUT_MISSING", retry_after=0.01)
