"""What was taken of outputs, and what keeps it: the engine's side of the artifact store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from subgrpc.driver import FilePiece, OutputFile, OutputKey, Run, SupportsOutputs
from subgrpc.v1.artifact_service_pb2 import Artifact, ArtifactSource


class Artifacts(Protocol):
    """Where outputs are stored."""

    async def store(
        self,
        name: str,
        content: Content,
        *,
        source: ArtifactSource,
        creator: str,
        display_name: str,
        labels: Mapping[str, str],
    ) -> Artifact:
        """Makes an artifact, or finds that it was made before from the same source.

        Raises:
            InvalidArgument, AlreadyExists: it never can be made.
            SubgrpcError: it cannot be made now.
        """

    async def register(self, model: str, artifact: str, creator: str) -> str:
        """Makes an artifact the next version of a model, which may have to be made, too.

        Returns:
            The version's name; if it is one already, that.

        Raises:
            InvalidArgument, NotFound: it never can be one.
            SubgrpcError: it cannot be now.
        """

    async def remove(self, name: str) -> None:
        """Removes an artifact that an experiment made; one that is needed, or not there, stays so.

        Raises:
            SubgrpcError: it cannot be removed now.
        """


@dataclass(slots=True)
class Content:
    """What was taken of an output, as the artifact store reads it.

    Attributes:
        size: in bytes.
        done: how many bytes were read so far.
    """

    driver: SupportsOutputs
    run: Run
    key: OutputKey
    size: int
    done: int = 0
    progressed: Callable[[], None] = lambda: None

    def files(self) -> AsyncIterator[Sequence[OutputFile]]:
        """The files, by path, in batches."""
        return self.driver.output_files(self.run, self.key)

    async def read(self, paths: Sequence[str]) -> AsyncIterator[FilePiece]:
        """The content of files, one after the other."""
        async for piece in self.driver.read_output(self.run, self.key, paths):
            self.done += len(piece.data)
            self.progressed()
            yield piece
