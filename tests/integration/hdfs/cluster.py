"""The HDFS of the testbed as its operator has it, and a way to it that can be broken."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests

from subgrpc.artifacts import StoreSettings
from subgrpc.names import new_uid
from tests.integration.postgres.conftest import Toxiproxy, Way

FAULT = Path(__file__).parents[2] / "testbeds/yarn/fault"
DATANODE = "127.0.0.1:9864"
USER = "subgrpc-test"


class Hdfs:
    """What an operator can do."""

    def __init__(self, url: str) -> None:
        self.namenode = urlsplit(url).netloc
        self._api = f"{url}/webhdfs/v1"

    def call(self, method: str, path: str, op: str, **options: object) -> Any:
        """A request of the superuser."""
        params = {"op": op, "user.name": "root", **options}
        answer = requests.request(method, f"{self._api}{path}", params=params, timeout=20)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def folder(self) -> str:
        """A new folder that belongs to the store's user."""
        path = f"/user/subgrpc-test/{new_uid()}"
        self.call("PUT", path, "MKDIRS", permission="755")
        self.call("PUT", path, "SETOWNER", owner=USER)
        return path

    def remove(self, path: str) -> None:
        self.call("DELETE", path, "DELETE", recursive="true")

    def names(self, path: str) -> list[str]:
        """What is in a folder; nothing if there is none."""
        folder, _, name = path.rpartition("/")
        if folder and name not in self.names(folder):
            return []
        found = self.call("GET", path or "/", "LISTSTATUS")["FileStatuses"]["FileStatus"]
        return [each["pathSuffix"] for each in found]

    def quota(self, path: str, files: int = -1, space: int = -1) -> None:
        self.call("PUT", path, "SETQUOTA", namespacequota=files, storagespacequota=space)

    def fault(self, *words: str) -> None:
        """Breaks or mends a daemon; see tests/testbeds/yarn/README.md."""
        subprocess.run([FAULT, *words], check=True, capture_output=True, timeout=150)

    @contextmanager
    def broken(self, breaks: str, *mends: str) -> Iterator[None]:
        """As `fault`, and mended in the end."""
        self.fault(*breaks.split())
        try:
            yield
        finally:
            for each in mends:
                self.fault(*each.split())


class Road(Way):
    """A way by its address."""

    def __init__(self, toxiproxy: Toxiproxy, address: str) -> None:
        super().__init__(toxiproxy, f"tcp://any@{address}")
        self.address = self.url.rpartition("@")[2]


class Front:
    """Between clients and the NameNode: sends them to another address than the DataNode's.

    Attributes:
        asked: the query of every request that has reached it.
        cookies: those that came along.
    """

    def __init__(self, namenode: str, datanode: str) -> None:
        self.asked: list[dict[str, str]] = []
        self.cookies: list[str] = []
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer in one packet: in two, each takes 40 ms (Nagle's algorithm)

            def forward(self) -> None:
                front.asked.append(dict(parse_qsl(urlsplit(self.path).query)))
                front.cookies += self.headers.get_all("Cookie", [])
                upstream = HTTPConnection(namenode, timeout=60)
                try:
                    upstream.request(self.command, self.path, headers=dict(self.headers))
                    answer = upstream.getresponse()
                    body = answer.read()
                finally:
                    upstream.close()
                self.send_response(answer.status, answer.reason)
                for name, value in answer.getheaders():
                    if name.lower() == "location":
                        self.send_header(name, value.replace(DATANODE, datanode))
                    elif name.lower() in ("content-type", "date", "set-cookie"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_DELETE = forward  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Detour:
    """A way to HDFS with a toxiproxy before the NameNode and one before the DataNode."""

    def __init__(self, toxiproxy: Toxiproxy, hdfs: Hdfs) -> None:
        self.datanode = Road(toxiproxy, DATANODE)
        self._front = Front(hdfs.namenode, self.datanode.address)
        self.namenode = Road(toxiproxy, self._front.address)
        self.ways = (self.namenode, self.datanode)
        self.address = self.namenode.address

    def asked(self, op: str) -> list[dict[str, str]]:
        """The requests of a kind that have reached the NameNode, by their queries."""
        return [each for each in self._front.asked if each["op"] == op]

    @property
    def cookies(self) -> list[str]:
        """The cookies that have reached the NameNode."""
        return self._front.cookies

    def slow(self) -> None:
        """The DataNode takes 6 s for 64 MiB, so that something can happen meanwhile."""
        for stream in ("upstream", "downstream"):
            self.datanode.poison("bandwidth", stream, rate=10_000)

    def swallow(self) -> None:
        """Nothing comes through any more, and nobody is told."""
        for way in self.ways:
            way.swallow()

    def enable(self, enabled: bool) -> None:
        """Ends all connections and refuses new ones, or accepts them again."""
        for way in self.ways:
            way.enable(enabled)

    def heal(self) -> None:
        for way in self.ways:
            way.heal()
        self.enable(True)

    def close(self) -> None:
        self.heal()
        self._front.close()


def settings(address: str, folder: str, **options: str) -> StoreSettings:
    """Of a store named `warehouse`, with little patience."""
    given = {"user": USER, "connect_timeout": "2", "timeout": "5", **options}
    return StoreSettings("warehouse", f"hdfs://{address}{folder}", given)
