"""The artifact store on HDFS: objects as files, written under a temporary name and renamed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import ClassVar, TypeVar

from hdfs import HdfsError
from requests.exceptions import RequestException

from subgrpc.artifacts import ArtifactStore, StoredObject, StoreSettings, failures
from subgrpc.artifacts.copying import opened
from subgrpc.artifacts.keys import check_key, check_prefix, check_range
from subgrpc.errors import Unavailable
from subgrpc.names import new_uid
from subgrpc_storage.hdfs_errors import takes_nothing, webhdfs_errors
from subgrpc_storage.hdfs_settings import HdfsSettings, parse
from subgrpc_storage.patience import Patience
from subgrpc_storage.sending import Body
from subgrpc_storage.webhdfs import DENIED, MISSING, Status, WebHdfs

T = TypeVar("T")
_INCOMING = ".incoming"
"""The folder for what is being put. It marks a store: it is made in new ones only."""


class HdfsStore(ArtifactStore):
    """Objects as files below a folder of HDFS.

    An attempt that fails for a passing reason is made again a few times, as long as the first one
    did not take longer than `timeout`.
    """

    scheme: ClassVar[str] = "hdfs"
    # To make, close and rename a file takes 25 to 400 ms, by Hadoop's settings: as 8 to 120 MiB do.
    pack_below: ClassVar[int] = 32 << 20
    pack_size: ClassVar[int] = 64 << 20

    def __init__(self, settings: HdfsSettings) -> None:
        self._settings = settings
        self._name = settings.store
        self._folder = settings.folder
        self._incoming = f"{settings.folder}/{_INCOMING}"
        self._web = WebHdfs(settings)
        self._known = False
        """Whether the folder was seen to be a store."""

    @classmethod
    def from_settings(cls, settings: StoreSettings) -> HdfsStore:
        """Makes a store of `hdfs://NAMENODE:9870[,NAMENODE:9870]/FOLDER`; see HdfsSettings."""
        return cls(parse(settings))

    @property
    def name(self) -> str:
        """The store's name, as it was configured."""
        return self._name

    def put(self, key: str, source: Path, size: int, sha256: bytes, *, take: bool = False) -> None:
        """Writes a temporary file, compares its length, renames it. The source always stays."""
        path = self._path(key)
        if self._insist(partial(self._has, key, size)):
            return
        digest = None if take else sha256
        with (
            opened(self._name, key, source, size) as file,
            Body(self._name, key, file, size, digest) as body,
        ):
            temporary = self._insist(partial(self._send, body))
        try:
            self._insist(partial(self._compare, key, temporary, size))
            self._insist(partial(self._publish, key, temporary, path, size))
        except BaseException:
            self._discard(temporary)
            raise

    def get(
        self, key: str, offset: int = 0, length: int | None = None
    ) -> Generator[bytes, None, None]:
        """Reads from a DataNode, and where it breaks off from another, if there is one."""
        check_range(self._name, offset, length)
        found = self.stat(key)
        if found is None:
            raise failures.not_found(self._name, key)
        end = found.size if length is None else min(found.size, offset + length)
        patience = self._patience()
        while offset < end:
            begin = offset
            try:
                with contextlib.closing(self._read(key, offset, end - offset)) as pieces:
                    for piece in pieces:
                        offset += len(piece)
                        yield piece
                if begin == offset:
                    text = f"it ends at byte {offset}, and had {found.size} bytes before"
                    raise failures.damaged(self._name, key, text)
            except Unavailable as error:
                patience = patience if begin == offset else self._patience()
                patience.failed(error)

    def stat(self, key: str) -> StoredObject | None:
        """Asks for a file's size and time."""
        path = self._path(key)
        status = self._insist(partial(self._web.status, path))
        if status is None:
            self._still_there()
        if status is None or status.folder:
            return None
        return StoredObject(key, status.size, status.time)

    def delete(self, key: str) -> None:
        """Removes a file, past HDFS's trash."""
        path = self._path(key)
        if not self._insist(partial(self._web.delete, path)):
            self._still_there()

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Walks the folders; one that vanishes meanwhile is no reason to stop."""
        folder, slash, start = check_prefix(self._name, prefix).rpartition("/")
        self._still_there()
        return self._walk(folder + slash, start)

    def abandoned(self, older_than: timedelta) -> int:
        """Removes what puts that were killed have left, by the NameNode's clock."""
        latest = self._insist(self._web.now) - older_than
        old = [each for each in self._entries(self._incoming) if each.time <= latest]
        for each in old:
            self._insist(partial(self._web.delete, f"{self._incoming}/{each.name}"))
        return len(old)

    def close(self) -> None:
        """Ends all connections."""
        self._web.close()

    def _path(self, key: str) -> str:
        return f"{self._folder}/{check_key(self._name, key)}"

    def _patience(self) -> Patience:
        return Patience(self._settings.timeout)

    def _insist(self, call: Callable[[], T]) -> T:
        """Calls again what failed for a passing reason."""
        patience = self._patience()
        while True:
            try:
                with webhdfs_errors(self._name):
                    return call()
            except Unavailable as error:
                patience.failed(error)

    def _has(self, key: str, size: int) -> bool:
        status = self._web.status(self._path(key))
        if status is not None and not status.folder and status.size != size:
            raise failures.exists(self._name, key, status.size, size)
        return status is not None and not status.folder

    def _still_there(self) -> None:
        """A folder that is not ours has no objects, which does not mean that they are lost.

        Raises:
            FailedPrecondition: STORE_MISCONFIGURED: there is no folder, or not the one of before.
        """
        known = self._known  # before the question: another thread may just be making the folder
        if self._insist(partial(self._web.status, self._incoming)) is not None:
            self._known = True
            return
        if known:
            text = f"{self._folder} was a store, and is not any more: was it moved or removed?"
            raise failures.misconfigured(self._name, text)
        status = self._insist(partial(self._web.status, self._folder))
        if status is None or not status.folder:
            text = f"{self._folder} is not a folder; hdfs dfs -mkdir makes it"
            raise failures.misconfigured(self._name, text)

    def _send(self, body: Body) -> str:
        """Writes a temporary file; returns its path."""
        if not self._known:
            self._still_there()
            self._web.make_folder(self._incoming)
            self._known = True
        temporary = f"{self._incoming}/{new_uid()}"
        place = self._place(temporary, len(body))
        try:
            body.rewind()
            self._web.send(place, body)
            body.verify()
        except BaseException as error:
            self._discard(temporary)
            if isinstance(error, HdfsError) and error.exception in (MISSING, DENIED):
                self._still_there()  # where the folder is gone, it is the one above that refuses
            raise
        return temporary

    def _place(self, temporary: str, size: int) -> str:
        try:
            return self._web.place(temporary, size)
        except HdfsError as error:
            if takes_nothing(error.message):
                left = self._web.room()
                if left is not None and left <= size:
                    text = f"its DataNodes have {left} bytes left, and the object has {size}"
                    raise failures.full(self._name, text) from error
            raise

    def _compare(self, key: str, temporary: str, size: int) -> None:
        status = self._web.status(temporary)
        if status is None:
            raise failures.unavailable(self._name, f"somebody has removed {temporary}")
        if status.size != size:
            text = f"{status.size} of {size} bytes were kept; it was removed"
            raise failures.damaged(self._name, key, text)

    def _publish(self, key: str, temporary: str, path: str, size: int) -> None:
        """Gives a file its name, unless it has it already, or another put was faster."""
        failed = self._web.rename(temporary, path)
        if failed == MISSING and not self._has(key, size):
            self._web.make_folder(path.rpartition("/")[0])
            failed = self._web.rename(temporary, path)
        if not failed:
            return
        if not self._has(key, size):
            text = f"{temporary} cannot be renamed to {path}: {failed}"
            raise failures.unavailable(self._name, text)
        self._discard(temporary)

    def _discard(self, temporary: str) -> None:
        """Removes what is of no use; if that fails, `abandoned` does later."""
        with contextlib.suppress(HdfsError, RequestException):
            self._web.delete(temporary)

    def _read(self, key: str, offset: int, length: int) -> Generator[bytes, None, None]:
        with webhdfs_errors(self._name):
            try:
                yield from self._web.read(self._path(key), offset, length)
            except HdfsError as error:
                if error.exception != MISSING:
                    raise
                raise failures.not_found(self._name, key) from None

    def _walk(self, folder: str, start: str = "") -> Iterator[StoredObject]:
        """Yields the objects whose key is a folder (empty, or with a slash at its end) + start."""
        for each in self._entries(f"{self._folder}/{folder}".rstrip("/")):
            if each.name.startswith(".") or not each.name.startswith(start):
                continue
            if each.folder:
                yield from self._walk(f"{folder}{each.name}/")
            else:
                yield StoredObject(f"{folder}{each.name}", each.size, each.time)

    def _entries(self, path: str) -> Iterator[Status]:
        """Yields what is in a folder; nothing if there is none."""
        after, more = "", True
        while more:
            found, more = self._insist(partial(self._web.batch, path, after))
            yield from found
            after = found[-1].name if found else ""
