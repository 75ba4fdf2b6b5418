"""A client of WebHDFS: one method per request, with time-outs and without retries.

The package `hdfs` brings the requests, and goes on to the next NameNode where one is on standby or
silent. Added here is what it has not: parameters such as `renameoptions`, DataNodes' errors apart
from NameNodes', cookies refused (a NameNode's says who we are to other services of the same host).
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, NamedTuple, Protocol

import requests
from hdfs import HdfsError, InsecureClient
from hdfs.client import _Request
from requests.adapters import HTTPAdapter

from subgrpc_storage.hdfs_errors import refuse_foreign, remote
from subgrpc_storage.hdfs_settings import HdfsSettings

_SENT: Final = 1 << 20
_READ: Final = 1 << 18  # what has come of a piece is lost when its connection breaks
MISSING: Final = "FileNotFoundException"
DENIED: Final = "AccessControlException"
EXISTS: Final = "FileAlreadyExistsException"
_NOT_EMPTY = "PathIsNotEmptyDirectoryException"
_CONNECTIONS = 64
_BLOCK = 1 << 20  # the smallest that NameNodes allow
_LARGEST_BLOCK = 128 << 20  # Hadoop's own size of blocks


class Status(NamedTuple):
    """What the NameNode knows of a path.

    Attributes:
        name: its last segment; empty where the path itself was asked for.
        folder: whether it is one.
        size: in bytes.
        time: when it was written last, by the NameNode's clock.
    """

    name: str
    folder: bool
    size: int
    time: datetime


class Body(Protocol):
    """What is sent. It knows its length: so the DataNode notices when some of it is missing."""

    def __len__(self) -> int:
        """The number of bytes."""

    def read(self, size: int) -> bytes:
        """The next piece."""


class _Adapter(HTTPAdapter):
    """Sends in big blocks, and keeps a connection for each of the server's threads."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, blocksize=_SENT, **options)


class _Client(InsecureClient):  # type: ignore[misc]  # untyped
    """The requests that the package lacks, or sends along with those to the DataNode."""

    place_of = _Request("GET", allow_redirects=False).to_method("OPEN")
    list_batch = _Request("GET").to_method("LISTSTATUS_BATCH")


def _session(settings: HdfsSettings) -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # no proxies, no .netrc: HDFS is next door, and has its own users
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers["Accept-Encoding"] = "identity"
    session.hooks["response"] = [refuse_foreign]
    session.verify = settings.ca or True
    adapter = _Adapter(pool_connections=_CONNECTIONS, pool_maxsize=_CONNECTIONS)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


class WebHdfs:
    """Requests of one user to one HDFS. Thread-safe.

    Every method may raise `HdfsError` and `requests.exceptions.RequestException`.
    """

    def __init__(self, settings: HdfsSettings) -> None:
        self._session = _session(settings)
        self._client = _Client(
            ";".join(settings.namenodes),
            user=settings.user,
            timeout=(settings.connect_timeout, settings.timeout),
            session=self._session,
        )

    def status(self, path: str) -> Status | None:
        """Returns what a path is; None: there is nothing."""
        try:
            answer = self._client._get_file_status(path)
        except HdfsError as error:
            if error.exception == MISSING:
                return None
            raise
        return _status(_member(answer, "FileStatus"))

    def batch(self, path: str, after: str = "") -> tuple[list[Status], bool]:
        """Returns what is in a folder, by name, from after a name on; whether there is more.

        The NameNode decides how many (1,000). What is no folder, or not there, is empty.
        """
        try:
            # In lower case: NameNodes ignore `startAfter`, as it is documented, and begin again.
            answer = self._client.list_batch(path, startafter=after)
        except HdfsError as error:
            if error.exception == MISSING:
                return [], False
            raise
        listing = _member(answer, "DirectoryListing")
        found = listing["partialListing"]["FileStatuses"]["FileStatus"]
        if found and not found[0]["pathSuffix"]:
            return [], False
        return [_status(each) for each in found], bool(found) and listing["remainingEntries"] > 0

    def make_folder(self, path: str) -> None:
        """Makes a folder, for its owner only, and those above it; one that is there is success."""
        self._client._mkdirs(path, permission="700")

    def place(self, path: str, size: int) -> str:
        """Returns the address of a DataNode for a new file, in a folder that is there."""
        options: dict[str, object] = {"createparent": "false", "permission": "600"}
        if size <= _LARGEST_BLOCK:
            # Quotas and free space are charged by the block while it is written.
            options["blocksize"] = max(1, -(-size // _BLOCK)) * _BLOCK
        return _location(self._client._create(path, overwrite="false", **options))

    def send(self, place: str, body: Body) -> None:
        """Writes the file for which `place` was given.

        MISSING: its folder is not there. What fails may leave a part of it.
        """
        self._to_data_node("PUT", place, data=body).close()

    def read(self, path: str, offset: int, length: int) -> Generator[bytes, None, None]:
        """Yields a file's bytes from an offset that it has, in pieces."""
        place = _location(self._client.place_of(path, offset=offset, length=length))
        with closing(self._to_data_node("GET", place, stream=True)) as response:
            try:
                yield from response.iter_content(_READ)
            except requests.exceptions.RequestException as error:
                error.request = response.request  # requests does not say who broke off
                raise

    def rename(self, source: str, target: str) -> str:
        """Gives a file its name, at once, and never replaces another. Returns why it has not.

        Empty: it has; EXISTS: the name is taken; MISSING: the file, or the folder it is to be in.
        """
        try:
            # Without an option it is the old rename: it moves into folders, and gives no reasons.
            self._client._rename(source, destination=target, renameoptions="NONE")
        except HdfsError as error:
            if error.exception in (MISSING, EXISTS):
                return str(error.exception)
            raise
        return ""

    def delete(self, path: str) -> bool:
        """Removes a file; whether it was there. A folder goes only if it is empty."""
        try:
            return bool(_member(self._client._delete(path, recursive="false"), "boolean"))
        except HdfsError as error:
            if error.exception == _NOT_EMPTY:
                return False
            raise

    def room(self) -> int | None:
        """Returns how many bytes its living DataNodes have left; None: there are none, or unknown.

        By the NameNode's metrics: WebHDFS itself tells it only since Hadoop 3.4.
        """
        url = f"{self._client._urls[0]}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"
        try:
            state = self._client._request("GET", url).json()["beans"][0]
            return int(state["CapacityRemaining"]) if state["NumLiveDataNodes"] else None
        except (requests.exceptions.RequestException, LookupError, TypeError):
            return None

    def now(self) -> datetime:
        """The NameNode's clock, up to a second fast: it tells whole ones."""
        told = self._client._get_file_status("/").headers["Date"]
        first = told[: len("Sat, 21 Nov 2026 18:33:41 GMT")]  # NameNodes send it twice
        return parsedate_to_datetime(first) + timedelta(seconds=1)

    def close(self) -> None:
        """Ends all connections."""
        self._session.close()

    def _to_data_node(self, method: str, place: str, **options: Any) -> requests.Response:
        response: requests.Response = self._client._request(method, place, **options)
        if not response.ok:
            with closing(response):
                raise remote(response)
        return response


def _location(answer: requests.Response) -> str:
    location = answer.headers.get("Location")
    if location is None:
        raise requests.exceptions.JSONDecodeError("no Location", "", 0, response=answer)
    return location


def _member(answer: requests.Response, name: str) -> Any:
    """A member of an answer in JSON; an answer without it is not WebHDFS's."""
    try:
        return answer.json()[name]
    except (KeyError, TypeError):
        raise requests.exceptions.JSONDecodeError(f"no {name}", "", 0, response=answer) from None


def _status(found: dict[str, Any]) -> Status:
    time = datetime.fromtimestamp(found["modificationTime"] / 1000, timezone.utc)
    folder = found["type"] == "DIRECTORY"
    return Status(found["pathSuffix"], folder, int(found["length"]), time)
