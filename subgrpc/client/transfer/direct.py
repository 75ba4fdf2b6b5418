"""HTTP requests to a store itself, by signed URLs: one connection after the other, no retries."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from subgrpc.v1.artifact_service_pb2 import SignedRequest

_TIMEOUT = 30.0
"""Seconds without a byte."""
_READ = 1 << 20


class StoreFailed(Exception):
    """The store answered, but not with success.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text}")
        self.status = status


class StoreLost(Exception):
    """The store cannot be reached, or the connection broke."""


class Store:
    """Connections to the stores that requests are for; for one thread."""

    def __init__(self) -> None:
        self._connections: dict[tuple[str, str], http.client.HTTPConnection] = {}

    def put(self, request: SignedRequest, size: int, pieces: Iterable[bytes]) -> None:
        """Sends the bytes of a blob.

        Raises:
            OSError, HTTPException: the store cannot be reached, or the connection broke.
            StoreFailed: it refuses.
        """
        headers = {**request.headers, "Content-Length": str(size)}
        response = self._perform(request, headers, pieces)
        text = response.read(2000)
        if response.status // 100 != 2:
            self.close()
            raise StoreFailed(response.status, text.decode(errors="replace"))

    def get(self, request: SignedRequest, start: int) -> Iterator[bytes]:
        """Yields the bytes of a blob from an offset on.

        Raises:
            StoreLost: the store cannot be reached, or the connection broke.
            StoreFailed: it refuses, or does not know ranges.
        """
        first, end = request.offset + start, request.offset + request.size_bytes
        headers = {**request.headers, "Range": f"bytes={first}-{end - 1}"}
        try:
            response = self._perform(request, headers, None)
            if response.status != 206:
                text = response.read(2000) if response.status != 200 else b"it ignores ranges"
                self.close()
                raise StoreFailed(response.status, text.decode(errors="replace"))
            left = end - first
            while left and (data := response.read(min(left, _READ))):
                left -= len(data)
                yield data
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise StoreLost(str(error)) from error
        if left:
            self.close()
            raise StoreLost("it ended its answer too early")

    def close(self) -> None:
        """Closes the connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def _perform(
        self, request: SignedRequest, headers: dict[str, str], body: Iterable[bytes] | None
    ) -> http.client.HTTPResponse:
        url = urlsplit(request.url)
        key = (url.scheme, url.netloc)
        fresh = key not in self._connections
        if fresh:
            self._connections[key] = _connect(url.scheme, url.netloc)
        connection = self._connections[key]
        path = f"{url.path or '/'}{f'?{url.query}' if url.query else ''}"
        try:
            connection.request(request.method, path, body, headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException):
            self.close()
            if fresh or body is not None:
                raise
            return self._perform(request, headers, body)  # one that was kept open had been closed


def _connect(scheme: str, address: str) -> http.client.HTTPConnection:
    if scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(address, timeout=_TIMEOUT, context=context)
    if scheme == "http":
        return http.client.HTTPConnection(address, timeout=_TIMEOUT)
    raise ConnectionError(f"no way to reach a store at {scheme}:")
