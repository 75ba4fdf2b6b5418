"""The artifacts of a server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from subgrpc import names
from subgrpc.client.aio.threads import async_in_threads
from subgrpc.client.inputs import artifact_name, output_filter
from subgrpc.client.patience import PATIENCE
from subgrpc.client.transfer.progress import OnProgress
from subgrpc.client.transfer.results import (
    Difference,
    Pulled,
    PullOptions,
    Pushed,
    PushOptions,
)
from subgrpc.errors import NotFound
from subgrpc.v1.artifact_service_pb2 import (
    Artifact,
    ArtifactFile,
    CollectArtifactGarbageResponse,
    VerifyArtifactResponse,
)

if TYPE_CHECKING:
    from subgrpc.client.aio.calls import AsyncCalls

_PARENT = names.team_name(names.DEFAULT_TEAM)
_Path: TypeAlias = "str | os.PathLike[str]"
_Differences: TypeAlias = list[Difference]


class AsyncArtifacts:
    """The artifacts of a server: immutable sets of files; docs/artifacts.md tells more.

    Each is named by its id, by its full name, or as EXPERIMENT/OUTPUT: the newest that this
    output of an experiment became.
    """

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def push(
        self,
        *paths: _Path,
        name: str = "",
        labels: Mapping[str, str] | None = None,
        display_name: str = "",
        description: str = "",
        exclude: Iterable[str] = (),
        direct: bool = True,
        parent: str = _PARENT,
        patience: float = PATIENCE,
        on_progress: OnProgress | None = None,
    ) -> Pushed:
        """Makes an artifact of files and folders; only what the server lacks is sent.

        The content of one folder stands at the artifact's root; of several paths each has its
        name. A push that broke off sends the rest when it is repeated; with a `name` that has the
        same files already, it returns that artifact.

        Args:
            *paths: files and folders.
            name: its id; by default the server makes one.
            labels: labels to find it by.
            display_name: a name for people.
            description: free text for people.
            exclude: patterns of what is left out, as in .gitignore.
            direct: send large files to the store itself, where it can be reached.
            parent: the team.
            patience: seconds after which a server that cannot be reached is an error.
            on_progress: told about ten times a second how far it is, in a thread that works.

        Raises:
            InvalidArgument: LINK_OUTSIDE, SPECIAL_FILE, FILE_NAME, NOTHING_TO_PUSH.
            AlreadyExists: there is one of that name with other files.
            FailedPrecondition: FILE_CHANGED: somebody wrote to a file meanwhile.
            OSError: a file cannot be read.
        """
        from subgrpc.client.transfer.push import Push  # with what it needs, it takes time

        options = PushOptions(
            paths,
            artifact_id=name,
            parent=parent,
            exclude=list(exclude),
            labels=dict(labels or {}),
            display_name=display_name,
            description=description,
            direct=direct,
            patience=patience,
        )
        return await async_in_threads(
            self._calls.connection,
            lambda calls, target, stop: Push(calls, target, options, on_progress, stop).run(),
        )

    async def pull(
        self,
        name: str,
        target: _Path,
        *,
        path: str = "",
        force: bool = False,
        direct: bool = True,
        patience: float = PATIENCE,
        on_progress: OnProgress | None = None,
    ) -> Pulled:
        """Puts the files of an artifact into a folder, which is there as a whole or not at all.

        Every file is compared with its digest. A pull that broke off receives the rest when it is
        repeated; where the same files are already, nothing is done.

        Args:
            name: the artifact.
            target: the folder to make; for a single file that file, or the folder to put it in.
            path: only this file, or what is in this folder.
            force: replace what is at the target, as a whole and in one step.
            direct: read large files from the store itself, where it can be reached.
            patience: seconds after which a server that cannot be reached is an error.
            on_progress: told about ten times a second how far it is, in a thread that works.

        Raises:
            NotFound: there is no such artifact, or nothing at `path`.
            FailedPrecondition: TARGET_EXISTS, PULL_RUNNING, PATHS_COLLIDE, ARTIFACT_NOT_READY.
            ResourceExhausted: LOCAL_DISK_FULL.
            DataLoss: what came is not what was pushed.
            OSError: a file cannot be written.
        """
        from subgrpc.client.transfer.pull import Pull

        options = PullOptions(
            await self._full(name),
            target,
            path=path,
            force=force,
            direct=direct,
            patience=patience,
        )
        return await async_in_threads(
            self._calls.connection,
            lambda calls, target, stop: Pull(calls, target, options, on_progress, stop).run(),
        )

    async def compare(self, name: str, folder: _Path) -> _Differences:
        """Returns what is different in a folder of files: nothing if it has just the artifact's.

        Raises:
            NotFound: there is none of that name.
            OSError: a file cannot be read.
        """
        from subgrpc.client.transfer.compare import compare

        full = await self._full(name)
        return await async_in_threads(
            self._calls.connection,
            lambda calls, _target, _stop: list(
                compare(os.fspath(folder), list(calls.list_artifact_files(full, page_size=10_000)))
            ),
        )

    async def get(self, name: str) -> Artifact:
        """Returns an artifact.

        Raises:
            NotFound: there is none of that name, or the experiment has no such output (yet).
        """
        wanted = output_filter(name)
        if not wanted:
            return await self._calls.get_artifact(artifact_name(name))
        async for found in self._calls.list_artifacts(filter=wanted, page_size=1):
            return found
        raise NotFound(f"no output {name} was kept", reason="OUTPUT_NOT_FOUND")

    def list(
        self,
        *,
        filter: str = "",  # noqa: A002 - the name of the request's field
        order_by: str = "",
        page_size: int = 0,
        parent: str = _PARENT,
    ) -> AsyncIterator[Artifact]:
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

    async def files(self, name: str, *, prefix: str = "") -> AsyncIterator[ArtifactFile]:
        """Yields the files of an artifact by path, those whose path starts with a prefix.

        Raises:
            NotFound: there is none of that name.
        """
        found = self._calls.list_artifact_files(await self._full(name), path_prefix=prefix)
        async for each in found:
            yield each

    async def read(
        self, name: str, path: str, *, offset: int = 0, length: int = 0
    ) -> AsyncIterator[bytes]:
        """Yields the bytes of a file, or of a range of it, in pieces; 0: up to its end.

        It goes on over lost connections. The pieces are not compared with the file's digest:
        `pull` does that.

        Raises:
            NotFound: there is no such artifact or file.
            OutOfRange: the offset is beyond the file's end.
        """
        full = await self._full(name)
        async for data in self._calls.download_artifact_file(
            full, path, offset=offset, length=length
        ):
            yield data

    async def update(
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
        return await self._calls.update_artifact(
            await self._full(name),
            labels=labels,
            display_name=display_name,
            description=description,
            etag=etag,
            request_id=request_id,
        )

    async def delete(
        self, name: str, *, allow_missing: bool = False, etag: str = "", request_id: str = ""
    ) -> None:
        """Deletes an artifact for good.

        Raises:
            NotFound: there is none of that name, and `allow_missing` is not set.
            FailedPrecondition: reason ARTIFACT_IN_USE: something refers to it.
        """
        await self._calls.delete_artifact(
            artifact_name(name), allow_missing=allow_missing, etag=etag, request_id=request_id
        )

    async def verify(self, name: str) -> AsyncIterator[VerifyArtifactResponse]:
        """Lets the server read a whole artifact; yields its progress, and what is damaged.

        Raises:
            NotFound: there is none of that name.
        """
        async for each in self._calls.verify_artifact(await self._full(name)):
            yield each

    def collect_garbage(
        self, *, grace: timedelta | None = None, validate_only: bool = False
    ) -> AsyncIterator[CollectArtifactGarbageResponse]:
        """Lets the server remove what nothing refers to; yields its progress.

        Args:
            grace: for how long it is kept, twice; None: an hour.
            validate_only: only count.
        """
        return self._calls.collect_artifact_garbage(grace=grace, validate_only=validate_only)

    async def _full(self, name: str) -> str:
        return (await self.get(name)).name if output_filter(name) else artifact_name(name)
