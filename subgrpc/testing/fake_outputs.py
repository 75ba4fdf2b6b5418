"""The part of the fake driver that hands out outputs, and what the fake backend keeps of them."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from subgrpc.driver import (
    FilePiece,
    OutputFile,
    OutputKey,
    Run,
    SupportsOutputs,
    TaskKey,
    TaskOutput,
    WorkloadOutput,
)
from subgrpc.errors import NotFound

_BATCH = 1000
_PIECE = 1 << 20
_OUT = "$SUBGRPC_OUTPUT_DIR/"


@dataclass(frozen=True, slots=True)
class FakeTaken:
    """What was taken of an output, once.

    Attributes:
        files: their content by path.
    """

    output: TaskOutput
    files: dict[str, bytes] = field(default_factory=dict)


Taken = dict[OutputKey, FakeTaken]


def take(
    taken: Taken,
    task: TaskKey,
    name: str,
    files: Mapping[str, bytes],
    *,
    sequence: int = 1,
    final: bool = True,
    problems: Sequence[str] = (),
) -> None:
    """Takes files as an output of a task."""
    size = sum(map(len, files.values()))
    output = TaskOutput(name=name, sequence=sequence, final=final, problems=problems)
    output.file_count, output.size_bytes = len(files), size
    output.time.GetCurrentTime()
    taken[OutputKey(task, name, sequence)] = FakeTaken(output, dict(files))


def chosen(output: WorkloadOutput, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those of a task's files, by their path in $SUBGRPC_OUTPUT_DIR, that an output means."""
    if not output.paths:
        start = f"{output.name}/"
        return {p.removeprefix(start): data for p, data in files.items() if p.startswith(start)}
    words = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    found = {}
    for pattern in output.paths:
        parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.removeprefix(_OUT))
        compiled = re.compile("".join(words.get(part) or re.escape(part) for part in parts))
        found.update({path: data for path, data in files.items() if compiled.fullmatch(path)})
    return found


class FakeOutputs(SupportsOutputs):
    """Hands out what the backend has taken."""

    @abstractmethod
    async def taken(self, run: Run, task: TaskKey) -> Taken:
        """All that was taken of a run, unless the backend cannot be reached. Raises NotFound."""

    async def outputs(self, run: Run, task: TaskKey) -> Sequence[TaskOutput]:
        """Returns what was taken of a task."""
        found = await self.taken(run, task)
        return [found[key].output for key in sorted(found) if key.task == task]

    async def output_files(self, run: Run, key: OutputKey) -> AsyncIterator[Sequence[OutputFile]]:
        """Yields the files of one."""
        files = (await self._one(run, key)).files
        paths = sorted(files, key=str.encode)
        for start in range(0, len(paths), _BATCH):
            yield [
                OutputFile(path=path, size_bytes=len(files[path]), mode=0o644)
                for path in paths[start : start + _BATCH]
            ]

    async def read_output(
        self, run: Run, key: OutputKey, paths: Sequence[str], offset: int = 0
    ) -> AsyncIterator[FilePiece]:
        """Yields the content of files."""
        for number, path in enumerate(paths):
            files = (await self._one(run, key)).files
            if path not in files:
                raise NotFound(f"there is no file {path!r}", reason="FILE_NOT_FOUND")
            data = files[path]
            for start in range(0 if number else offset, len(data), _PIECE):
                yield FilePiece(file=number, offset=start, data=data[start : start + _PIECE])

    async def release_output(self, run: Run, key: OutputKey) -> None:
        """Forgets what was taken."""
        try:
            taken = await self.taken(run, key.task)
        except NotFound:
            return
        taken.pop(key, None)

    async def _one(self, run: Run, key: OutputKey) -> FakeTaken:
        found = (await self.taken(run, key.task)).get(key)
        if found is None:
            text = f"{key.task} has no output {key.output!r} number {key.sequence}"
            raise NotFound(text, reason="TAKEN_NOT_FOUND")
        return found
