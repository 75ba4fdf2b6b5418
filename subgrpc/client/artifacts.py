# Made from aio/artifacts.py by tools/make_sync_client.py: change that.
"""The artifacts of a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from subgrpc import names
from subgrpc.client.inputs import artifact_name, output_filter
from subgrpc.errors import NotFound
from subgrpc.v1.artifact_service_pb2 import (
    Artifact,
    ArtifactFile,
    CollectArtifactGarbageResponse,
    VerifyArtifactResponse,
)

if TYPE_CHECKING:
    from subgrpc.client.calls import Calls

_PARENT = names.team_name(names.DEFAULT_TEAM)


class Artifacts:
    """The artifacts of a server: immutable sets of files; docs/artifacts.md tells more.

    Each is named by its id, by its full name, or as EXPERIMENT/OUTPUT: the newest that this
    output of an experiment became.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def get(self, name: str) -> Artifact:
        """Returns an artifact.

        Raises:
            NotFound: there is none of that name, or the experiment has no such output (yet).
        """
        wanted = output_filter(name)
        if not wanted:
            return self._calls.get_artifact(artifact_name(name))
        for found in self._calls.list_artifacts(filter=wanted, page_size=1):
            return found
        raise NotFound(f"no output {name} was kept", reason="OUTPUT_NOT_FOUND")

    def list(
        self,
        *,
        filter: str = "",  # noqa: A002 - the name of the request's field
        order_by: str = "",
        page_size: int = 0,
        parent: str = _PARENT,
    ) -> Iterator[Artifact]:
        """Yields artifacts, page after page as they are needed, newest first.

        Args:
            filter: such as `experiment = "teams/default/experiments/digits" AND output = "model"`.
            order_by: `create_time`, `update_time` or `artifact_id`, and ` desc`.
            page_size: artifacts a page: at most 1000; 0: 50.
            parent: the team.

        Raises:
            InvalidArgument: the filter or the order cannot be read.
        """
        return self._calls.list_artifacts(
            parent=parent, filter=filter, order_by=order_by, page_size=page_size
        )

    def files(self, name: str, *, prefix: str = "") -> Iterator[ArtifactFile]:
        """Yields the files of an artifact by path, those whose path starts with a prefix.

        Raises:
            NotFound: there is none of that name.
        """
        found = self._calls.list_artifact_files(self._full(name), path_prefix=prefix)
        yield from found

    def read(self, name: str, path: str, *, offset: int = 0, length: int = 0) -> Iterator[bytes]:
        """Yields the bytes of a file, or of a range of it, in pieces; 0: up to its end.

        It goes on over lost connections. The pieces are not compared with the file's digest:
        `pull` does that.

        Raises:
            NotFound: there is no such artifact or file.
            OutOfRange: the offset is beyond the file's end.
        """
        full = self._full(name)
        yield from self._calls.download_artifact_file(full, path, offset=offset, length=length)

    def update(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        display_name: str | None = None,
        description: str | None = None,
        etag: str = "",
        request_id: str = "",
    ) -> Artifact:
        """Replaces an artifact's labels, display name or description; None leaves it alone.

        Raises:
            NotFound: there is none of that name.
            Aborted: reason ETAG_MISMATCH: its etag is not `etag` any more.
        """
        return self._calls.update_artifact(
            self._full(name),
            labels=labels,
            display_name=display_name,
            description=description,
            etag=etag,
            request_id=request_id,
        )

    def delete(
        self, name: str, *, allow_missing: bool = False, etag: str = "", request_id: str = ""
    ) -> None:
        """Deletes an artifact for good.

        Raises:
            NotFound: there is none of that name, and `allow_missing` is not set.
            FailedPrecondition: reason ARTIFACT_IN_USE: something refers to it.
        """
        self._calls.delete_artifact(
            artifact_name(name), allow_missing=allow_missing, etag=etag, request_id=request_id
        )

    def verify(self, name: str) -> Iterator[VerifyArtifactResponse]:
        """Lets the server read a whole artifact; yields its progress, and what is damaged.

        Raises:
            NotFound: there is none of that name.
        """
        yield from self._calls.verify_artifact(self._full(name))

    def collect_garbage(
        self, *, grace: timedelta | None = None, validate_only: bool = False
    ) -> Iterator[CollectArtifactGarbageResponse]:
        """Lets the server remove what nothing refers to; yields its progress.

        Args:
            grace: for how long it is kept, twice; None: an hour.
            validate_only: only count.
        """
        return self._calls.collect_artifact_garbage(grace=grace, validate_only=validate_only)

    def _full(self, name: str) -> str:
        return (self.get(name)).name if output_filter(name) else artifact_name(name)
