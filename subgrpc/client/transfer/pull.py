"""Pulling files: what is lacking is received, compared, and moved into place in one step."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from subgrpc.client.calls import Calls
from subgrpc.client.channel import Target
from subgrpc.client.transfer import compare, manifest, paths, refusals
from subgrpc.client.transfer.assembly import Assembled, wanted
from subgrpc.client.transfer.landing import Landing
from subgrpc.client.transfer.progress import Meter, OnProgress
from subgrpc.client.transfer.receive import Receiver, batches
from subgrpc.client.transfer.results import Pulled, PullOptions
from subgrpc.client.transfer.retrying import retrying
from subgrpc.client.transfer.sink import Sink
from subgrpc.errors import FailedPrecondition, NotFound
from subgrpc.v1.artifact_service_pb2 import Artifact, ArtifactFile, ArtifactState

_TURN = 0.1
_PAGE = 10_000


class Pull:
    """One pull.

    Args:
        calls: the server.
        target: the same, for streams.
        options: what is pulled.
        listener: told how far it is.
        stop: when set, by another thread, it ends with `InterruptedError`.
    """

    def __init__(
        self,
        calls: Calls,
        target: Target,
        options: PullOptions,
        listener: OnProgress | None,
        stop: threading.Event,
    ) -> None:
        self._calls, self._options, self._stop = calls, options, stop
        self._meter = Meter(listener)
        self._receiver = Receiver(
            calls,
            target,
            options.artifact,
            self._meter,
            patience=options.patience,
            streams=options.streams,
            direct=options.direct,
        )

    def run(self) -> Pulled:
        """Performs it.

        Raises:
            SubgrpcError: it cannot be done.
            OSError: a file cannot be written.
            InterruptedError: it was stopped.
        """
        self._meter.phase("listing")
        artifact = self._artifact()
        files, is_file = self._files(artifact)
        landing = Landing(
            self._target_of(files, is_file=is_file),
            f"{artifact.digest} {self._options.path}",
            is_file=is_file,
        )
        self._meter.progress.total_files = len(files)
        self._meter.progress.total_bytes = sum(each.size_bytes for each in files)
        if not landing.is_free():
            self._meter.phase("comparing")
            if _is_there(landing, files):
                return Pulled(artifact, landing.target, len(files), 0, existed=True)
            if not self._options.force:
                raise landing.exists()
        with refusals.full_disk(landing.parent):
            self._land(landing, files)
        self._meter.phase("done")
        moved = self._meter.progress.moved_bytes
        return Pulled(artifact, landing.target, len(files), moved)

    def _artifact(self) -> Artifact:
        # Without `retrying`: who has no server is told at once.
        found = self._calls.get_artifact(self._options.artifact)
        if found.state != ArtifactState.ARTIFACT_STATE_READY:
            text = f"{found.name} is not complete yet: whoever pushes it has not finished"
            raise FailedPrecondition(text, reason="ARTIFACT_NOT_READY")
        return found

    def _files(self, artifact: Artifact) -> tuple[list[ArtifactFile], bool]:
        """The files to pull, with their paths in the target; and whether it is just a file."""
        path = self._options.path.strip("/")
        found = retrying(
            lambda: list(
                self._calls.list_artifact_files(artifact.name, path_prefix=path, page_size=_PAGE)
            ),
            self._options.patience,
        )
        if not path and manifest.digest(found) != artifact.digest:
            text = f"the files of {artifact.name} are not what its digest {artifact.digest} says"
            raise refusals.damaged(text)
        is_file = any(each.path == path and not each.link_target for each in found)
        if is_file:
            found = [each for each in found if each.path == path]
        elif path:
            found = [each for each in found if each.path.startswith(f"{path}/")]
        if not found:
            raise NotFound(f"{artifact.name} has no {path!r}", reason="FILE_NOT_FOUND")
        for each in found:
            each.path = (
                each.path.rpartition("/")[2] if is_file else each.path[len(path) :].lstrip("/")
            )
        _check(found)
        return found, is_file

    def _target_of(self, files: list[ArtifactFile], *, is_file: bool) -> str:
        target = os.fspath(self._options.target)
        if is_file and (target.endswith("/") or os.path.isdir(target)):
            return os.path.join(target, files[0].path)
        return target

    def _land(self, landing: Landing, files: list[ArtifactFile]) -> None:
        try:
            landing.open()
            if double := landing.collision([each.path for each in files]):
                text = f"{double[0]!a} and {double[1]!a} are the same to the file system here"
                raise FailedPrecondition(text, reason="PATHS_COLLIDE")
            plain = [Assembled(landing.files, each) for each in files if not each.link_target]
            self._prepare(landing, plain)
            self._meter.phase("receiving")
            self._receive(plain)
            self._meter.phase("placing")
            for each in files:
                if each.link_target:
                    _link(landing.files, each)
            landing.commit(replace=self._options.force)
        finally:
            landing.close()

    def _prepare(self, landing: Landing, files: list[Assembled]) -> None:
        """Makes folders and empty files, and looks at what an interrupted pull has left."""
        if landing.is_taken_up:
            _sweep(landing.files, {each.path for each in files})
        for folder in sorted({os.path.dirname(each.path) for each in files}):
            os.makedirs(folder, exist_ok=True)
        for file in files:
            if landing.is_taken_up:
                self._meter.add(done=file.take_up())
                self._turn()
            if not file.chunks:
                file.create(b"")
        landing.need(self._meter.progress.total_bytes - self._meter.progress.done_bytes)

    def _receive(self, files: list[Assembled]) -> None:
        receiver = self._receiver
        with ThreadPoolExecutor(2, "hash") as workers:

            def hash_on(file: Assembled) -> None:
                try:
                    file.hash_on()
                except BaseException as error:  # the thread that waits raises it
                    receiver.queue.fail(error)

            def is_part(file: Assembled, chunk: int) -> None:
                if file.add(chunk):
                    workers.submit(hash_on, file)

            try:
                for file in files:
                    if file.can_hash():
                        workers.submit(hash_on, file)
                for batch in batches(Sink(each, is_part) for each in wanted(files)):
                    while not receiver.queue.put(batch, _TURN):
                        self._turn()
                    receiver.grow()
                while not receiver.queue.wait_done(_TURN):
                    self._turn()
            except BaseException as error:
                receiver.queue.fail(error)
                receiver.abort()
                raise
            finally:
                receiver.queue.close()
                receiver.join()
        receiver.queue.wait_done(0)
        if unfinished := [each.entry.path for each in files if not each.is_complete]:
            raise refusals.damaged(f"{unfinished[0]!r} did not arrive as a whole")

    def _turn(self) -> None:
        """What has to be done now and then, in the thread of the caller."""
        if self._stop.is_set():
            raise InterruptedError("the pull was stopped")
        self._meter.tell()


def _check(files: Iterable[ArtifactFile]) -> None:
    """Nobody's list of files leads out of the target."""
    links = {each.path: each.link_target for each in files if each.link_target}
    seen: set[str] = set()
    for each in files:
        why = paths.mistake(each.path)
        if not why and each.path in seen:
            why = "is there twice"
        if not why and each.link_target and paths.leaves(each.path, links):
            why = f"is a link that leads out of the artifact, to {each.link_target!a}"
        if why:
            raise refusals.unsafe(f"{each.path!a} {why}")
        seen.add(each.path)


def _is_there(landing: Landing, files: list[ArtifactFile]) -> bool:
    """Whether the target has these files already, and no other."""
    if not landing.is_file:
        if not os.path.isdir(landing.target):
            return False
        return next(compare.compare(landing.target, files), None) is None
    if not os.path.isfile(landing.target) or os.path.islink(landing.target):
        return False
    found, entry = os.stat(landing.target), files[0]
    if found.st_size != entry.size_bytes:
        return False
    return compare.sha256_of(landing.target) == entry.sha256


def _link(folder: str, entry: ArtifactFile) -> None:
    path = os.path.join(folder, *entry.path.split("/"))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink(entry.link_target, path)


def _sweep(folder: str, wanted_paths: set[str]) -> None:
    """Removes what an interrupted pull has left and this one does not make."""
    for base, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = os.path.join(base, name)
            if os.path.islink(path) or (name in names and path not in wanted_paths):
                os.unlink(path)
