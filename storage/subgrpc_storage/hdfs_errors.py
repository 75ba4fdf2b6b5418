"""What WebHDFS, and the network on the way to it, mean for an artifact store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import IncompleteRead
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from hdfs import HdfsError
from requests import exceptions

from subgrpc.artifacts import failures
from subgrpc.errors import SubgrpcError

_DENIED: Final = frozenset(
    ("AccessControlException", "AuthorizationException", "InvalidToken", "SecurityException")
)
_FULL: Final = frozenset(
    (
        "ClusterStorageCapacityExceededException",
        "DSQuotaExceededException",
        "FSLimitException",
        "MaxDirectoryItemsExceededException",
        "NSQuotaExceededException",
        "QuotaByStorageTypeExceededException",
        "QuotaExceededException",
    )
)
_MISCONFIGURED: Final = frozenset(
    (
        "FileAlreadyExistsException",
        "IllegalArgumentException",
        "InvalidPathException",
        "ParentNotDirectoryException",
        "PathIsNotDirectoryException",
        "UnsupportedOperationException",
    )
)
# What an IOException of the NameNode says while no DataNode takes a block: it is dead, or full.
_NOBODY: Final = ("Failed to find datanode", "could only be written to 0 of the")


class Foreign(exceptions.HTTPError):
    """An answer that WebHDFS did not make: of a proxy, of Kerberos, of another server."""


class ForeignTrouble(Foreign, exceptions.ConnectionError):
    """As Foreign, and another time or another NameNode may give a better one."""


def refuse_foreign(response: requests.Response, **_: Any) -> None:
    """Raises for an error that has not the form of WebHDFS's; a hook of requests' sessions.

    The package `hdfs` would lose the status, and trip over JSON that is not WebHDFS's.
    """
    if response.ok:
        return
    try:
        remote = response.json()["RemoteException"]
        remote["message"], remote["exception"]
    except (ValueError, KeyError, TypeError):
        kind = ForeignTrouble if response.status_code in (408, 429, 502, 503, 504) else Foreign
        raise kind(response=response, request=response.request) from None


@contextmanager
def webhdfs_errors(store: str) -> Iterator[None]:
    """Maps what goes wrong inside, as `of_webhdfs`."""
    try:
        yield
    except (HdfsError, exceptions.RequestException) as error:
        raise of_webhdfs(store, error) from error


def of_webhdfs(store: str, error: HdfsError | exceptions.RequestException) -> SubgrpcError:
    """Maps an error of WebHDFS or of the network to that of a store."""
    if isinstance(error, HdfsError):
        return _of_java(store, error.exception or "", _first_line(error.message))
    if isinstance(error, Foreign):
        return _of_foreign(store, error)
    if isinstance(error, exceptions.JSONDecodeError):
        text = "the answer is not WebHDFS's; does the URL name the NameNode's web address?"
        return failures.misconfigured(store, text)
    if isinstance(error, exceptions.SSLError):
        text = f"{_peer(error)}: {innermost(error)}; the options scheme and ca have to fit"
        return failures.misconfigured(store, text)
    if isinstance(error, exceptions.ReadTimeout):
        return failures.unavailable(store, f"{_peer(error)} does not answer in time")
    return failures.unavailable(store, f"{_peer(error)}: {innermost(error)}")


def _of_java(store: str, name: str, text: str) -> SubgrpcError:
    """Maps by the simple name of the Java class."""
    if "(is not a directory)" in text:  # as an AccessControlException, of all things
        return failures.misconfigured(store, f"{text}; the URL has to name a folder")
    if name in _DENIED:
        return failures.access_denied(
            store, f"{text}; give the user of the store's option user that permission"
        )
    if name in _FULL:
        return failures.full(store, text)
    if name in _MISCONFIGURED:
        text = f"{text}; does the URL name a folder, and the NameNode's web address?"
        return failures.misconfigured(store, text)
    if name == "SafeModeException" or "in safe mode" in text:
        text = f"{text}; HDFS is read-only until that ends (hdfs dfsadmin -safemode get)"
    elif name == "StandbyException":
        text = f"no NameNode is active ({text}); name all of them in the URL"
    elif takes_nothing(text):
        text = "no DataNode takes data; see hdfs dfsadmin -report"
    return failures.unavailable(store, f"{name}: {text}" if name else text)


def takes_nothing(message: str) -> bool:
    """Whether the NameNode says that it has no DataNode for a block."""
    return any(each in message for each in _NOBODY)


def _of_foreign(store: str, error: Foreign) -> SubgrpcError:
    response = error.response
    what = f"{_peer(error)} answers {response.status_code} {response.reason}"
    if response.status_code == 401:
        text = f"{what}; this store speaks to clusters without Kerberos only"
        return failures.access_denied(store, text)
    if response.status_code == 403:
        return failures.access_denied(store, what)
    if response.status_code >= 500 or isinstance(error, ForeignTrouble):
        return failures.unavailable(store, what)
    excerpt = " ".join(response.text[:200].split())
    text = f"{what}, which is not WebHDFS ({excerpt}); name the NameNode's web address, as :9870"
    return failures.misconfigured(store, text)


def _first_line(message: str | bytes) -> str:
    """Without the stack that Java adds."""
    text = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    return text.partition("\n")[0].strip()[:500]


def _peer(error: exceptions.RequestException) -> str:
    """Who it was that failed; DataNodes are told from NameNodes by what is asked of them."""
    url = getattr(error.request, "url", None) or ""
    parts = urlsplit(url)
    kind = "DataNode" if "namenoderpcaddress=" in parts.query else "NameNode"
    return f"{kind} {parts.netloc}" if parts.netloc else "the network"


def innermost(error: BaseException) -> str:
    """What the operating system said, which HTTP libraries wrap several times."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        inner = getattr(cause, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in cause.args if isinstance(arg, BaseException)), None)
        cause = inner or cause.__cause__ or cause.__context__
    last = seen[-1]
    if isinstance(last, IncompleteRead):
        return "the connection ended early (if it always does, hdfs fsck finds damaged blocks)"
    return str(getattr(last, "strerror", None) or last) or type(last).__name__


def remote(response: requests.Response) -> HdfsError:
    """The error that an answer holds; `refuse_foreign` has seen that it does."""
    found = json.loads(response.content)["RemoteException"]
    return HdfsError(found["message"], exception=found["exception"])
