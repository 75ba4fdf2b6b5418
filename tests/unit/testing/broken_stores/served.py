"""A store of a folder that has all that a store may have: signed URLs, outages, a quota."""

from __future__ import annotations

import hmac
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from subgrpc.artifacts import SignedUrl, StoredObject, StoreSettings, failures
from subgrpc.artifacts.filestore import FileStore, folder_of
from subgrpc.artifacts.keys import check_key
from subgrpc.errors import SubgrpcError

SECRET = b"the tests' own"


class ServedStore(FileStore):
    """A file store with a server. Its options: port, quota (bytes), readonly."""

    port = ""
    quota = 1 << 60
    readonly = False
    kills = 1
    """How many processes are killed: more where the moment has to be met."""

    @classmethod
    def from_settings(cls, settings: StoreSettings) -> ServedStore:
        more = dict(settings.options)
        port, quota, readonly = (
            more.pop("port", ""),
            more.pop("quota", ""),
            more.pop("readonly", ""),
        )
        made = super().from_settings(StoreSettings(settings.name, settings.url, more))
        assert isinstance(made, ServedStore)
        made.port, made.readonly = port, bool(readonly)
        made.quota = int(quota or cls.quota)
        return made

    def reach(self) -> None:
        """Every call comes through here, and every piece that is read."""
        if self.switch.exists():
            raise failures.unavailable(self.name, "the tests have cut it off")

    @property
    def switch(self) -> Path:
        """While this file is there, nobody reaches the store."""
        return self._folder.parent / "outage"

    def writable(self) -> None:
        self.reach()
        if self.readonly:
            raise failures.access_denied(self.name, "it may only be read")

    def check(self) -> None:
        self.reach()
        super().check()

    def put(self, key: str, source: Path, size: int, sha256: bytes, *, take: bool = False) -> None:
        self.writable()
        if sum(each.size for each in super().list()) + size > self.quota:
            raise failures.full(self.name, "its quota is used up")
        super().put(key, source, size, sha256, take=take)
        self.reach()

    def get(
        self, key: str, offset: int = 0, length: int | None = None
    ) -> Generator[bytes, None, None]:
        self.reach()
        for piece in super().get(key, offset, length):
            self.reach()
            yield piece

    def stat(self, key: str) -> StoredObject | None:
        self.reach()
        return super().stat(key)

    def delete(self, key: str) -> None:
        self.writable()
        super().delete(key)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        self.reach()
        yield from super().list(prefix)

    def sign_get(self, key: str, expires: timedelta) -> SignedUrl | None:
        return self.signed("GET", key, expires) if self.port else None

    def sign_put(self, key: str, size: int, sha256: bytes, expires: timedelta) -> SignedUrl | None:
        return self.signed("PUT", key, expires, sha256.hex()) if self.port else None

    def signed(self, method: str, key: str, expires: timedelta, sha256: str = "") -> SignedUrl:
        expiry = datetime.now(timezone.utc) + expires
        query = f"until={expiry.timestamp()}&sha256={sha256}"
        token = self.token(method, check_key(self.name, key), query)
        url = f"http://127.0.0.1:{self.port}/{key}?{query}&token={token}"
        return SignedUrl(method, url, {"X-Sha256": sha256} if sha256 else {}, expiry)

    def token(self, method: str, key: str, query: str) -> str:
        return hmac.new(SECRET, f"{method} {key} {query}".encode(), "sha256").hexdigest()

    def answer_get(self, key: str, start: int | None, end: int | None) -> tuple[int, bytes]:
        length = None if end is None else end + 1 - (start or 0)
        data = b"".join(self.get(key, start or 0, length))
        return 200 if start is None else 206, data

    def answer_put(self, key: str, data: bytes, wanted: str) -> tuple[int, bytes]:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "body")
            source.write_bytes(data)
            self.put(key, source, len(data), bytes.fromhex(wanted))
        return 200, b""

    def bare(self, wanted: str) -> bool:
        """Whether a signed PUT may come without its headers."""
        return False

    def valid(self, method: str, key: str, query: str) -> bool:
        """Whether a request is one that was signed."""
        signed, _, token = query.rpartition("&token=")
        until = float(parse_qs(signed)["until"][0])
        return hmac.compare_digest(token, self.token(method, key, signed)) and time.time() < until


class Handler(BaseHTTPRequestHandler):
    """Serves signed URLs."""

    store: ServedStore

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        key, query = parts.path[1:], parts.query
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            status, data = self.answer(key, query, body)
        except SubgrpcError as error:
            status, data = 400, error.message.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_PUT = do_DELETE = do_GET  # noqa: N815

    def answer(self, key: str, query: str, body: bytes) -> tuple[int, bytes]:
        if not self.store.valid(self.command, key, query):
            return 403, b"not signed"
        if self.command == "PUT":
            wanted = parse_qs(query).get("sha256", [""])[0]
            if not self.store.bare(wanted) and self.headers.get("X-Sha256") != wanted:
                return 403, b"not signed"
            return self.store.answer_put(key, body, wanted)
        start, _, end = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        return self.store.answer_get(key, int(start) if start else None, int(end) if end else None)

    def log_message(self, *args: object) -> None:
        pass


class Server:
    """The server of a store."""

    def __init__(self, store: ServedStore) -> None:
        handler = type("Handler", (Handler,), {"store": store})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.port = str(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def outage_of(settings: StoreSettings) -> Path:
    """The switch of a store's outages."""
    return folder_of(settings).parent / "outage"
