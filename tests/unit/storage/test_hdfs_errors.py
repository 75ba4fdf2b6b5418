"""What goes wrong between a store and HDFS is said in the words of stores, with what to do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hdfs import HdfsError

from subgrpc.artifacts import StoreSettings
from subgrpc.errors import FailedPrecondition, ResourceExhausted, SubgrpcError, Unavailable
from subgrpc_storage.hdfs import HdfsStore
from subgrpc_storage.hdfs_errors import of_webhdfs

DENIED, WRONG = "STORE_ACCESS_DENIED", "STORE_MISCONFIGURED"


def store_at(address: str) -> HdfsStore:
    options = {"user": "ml", "connect_timeout": "1", "timeout": "0.3"}
    return HdfsStore.from_settings(StoreSettings("warehouse", f"hdfs://{address}/data", options))


def failure(call: Callable[[], object], kind: type[SubgrpcError], reason: str) -> str:
    """The message of the error that a call raises."""
    with pytest.raises(kind) as error:
        call()
    assert error.value.reason == reason
    assert "'warehouse'" in error.value.message
    return error.value.message


# As Hadoop 3.5.0 said it, but for the stack below the first line.
@pytest.mark.parametrize(
    ("exception", "message", "kind", "reason", "advice"),
    [
        (
            "AccessControlException",
            'Permission denied: user=bob, access=WRITE, inode="/x":root:supergroup:drwxr-xr-x',
            FailedPrecondition, DENIED, "option user",
        ),
        (
            "AccessControlException", "/user/x/s/o/1 (is not a directory)",
            FailedPrecondition, WRONG, "URL has to name a folder",
        ),
        (
            "DSQuotaExceededException",
            "The DiskSpace quota of /x is exceeded: quota = 1000 B = 1000 B but diskspace consumed"
            " = 134217728 B = 128 MB\n\tat org.apache.hadoop.hdfs.server.namenode.Directory",
            ResourceExhausted, "STORE_FULL", "make room",
        ),
        (
            "NSQuotaExceededException",
            "The NameSpace quota (directories and files) of directory /x is exceeded: quota=3",
            ResourceExhausted, "STORE_FULL", "make room",
        ),
        (
            "SafeModeException",
            "Cannot create file/x/.incoming/1. Name node is in safe mode.",
            Unavailable, "STORE_UNAVAILABLE", "dfsadmin -safemode",
        ),
        (
            "StandbyException", "Operation category READ is not supported in state standby",
            Unavailable, "STORE_UNAVAILABLE", "name all of them in the URL",
        ),
        (
            "IOException",
            "Failed to find datanode, suggest to check cluster health. excludeDatanodes=null",
            Unavailable, "STORE_UNAVAILABLE", "dfsadmin -report",
        ),
        (
            "IOException",
            "File /x could only be written to 0 of the 1 minReplication nodes. There are 0 "
            "datanode(s) running and 0 node(s) are excluded in this operation.",
            Unavailable, "STORE_UNAVAILABLE", "dfsadmin -report",
        ),
        (
            "IOException", "No active and not excluded nodes contain this block",
            Unavailable, "STORE_UNAVAILABLE", "contain this block",
        ),
        (
            "IllegalArgumentException", "Invalid operation GETFILESTATUS",
            FailedPrecondition, WRONG, "NameNode's web address",
        ),
    ],
)  # fmt: skip
def test_what_hadoop_says(
    exception: str, message: str, kind: type[SubgrpcError], reason: str, advice: str
) -> None:
    """Each of its exceptions has a reason and advice; its stacks stay away."""

    def call() -> None:
        raise of_webhdfs("warehouse", HdfsError(message, exception=exception))

    text = failure(call, kind, reason)
    assert advice in text
    assert "\n" not in text


@contextmanager
def answering(status: int, body: bytes, kind: str = "text/html") -> Iterator[str]:
    """The address of a server that is no NameNode."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason", "advice"),
    [
        (404, b"This is not the correct port.", FailedPrecondition, WRONG, "the correct port"),
        (404, b'{"detail": "Not Found"}', FailedPrecondition, WRONG, "NameNode's web address"),
        (400, b'["no", "object"]', FailedPrecondition, WRONG, "NameNode's web address"),
        (200, b"<html>Welcome!</html>", FailedPrecondition, WRONG, "NameNode's web address"),
        (200, b'{"other": 1}', FailedPrecondition, WRONG, "NameNode's web address"),
        (401, b"Authentication required", FailedPrecondition, DENIED, "without Kerberos"),
        (403, b"<html>Forbidden</html>", FailedPrecondition, DENIED, "403"),
        (500, b"<html>Oops</html>", Unavailable, "STORE_UNAVAILABLE", "500"),
        (502, b"<html>Bad gateway</html>", Unavailable, "STORE_UNAVAILABLE", "502"),
        (503, b"<html>Busy</html>", Unavailable, "STORE_UNAVAILABLE", "503"),
    ],
)
def test_what_others_say(
    status: int, body: bytes, kind: type[SubgrpcError], reason: str, advice: str
) -> None:
    """A wrong port, a proxy or a cluster with Kerberos is never taken for an HDFS without files."""
    with answering(status, body) as address:
        store = store_at(address)
        assert advice in failure(lambda: store.stat("object"), kind, reason)
        store.close()


def test_a_closed_port() -> None:
    """The operating system's own words, and whose port it is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        store = store_at(address)
        text = failure(lambda: store.stat("object"), Unavailable, "STORE_UNAVAILABLE")
        assert f"NameNode {address}: Connection refused" in text


def test_silence() -> None:
    """One who takes the request and never answers is given up after the time-out."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        store = store_at(f"127.0.0.1:{silent.getsockname()[1]}")
        text = failure(lambda: store.stat("object"), Unavailable, "STORE_UNAVAILABLE")
        assert "does not answer in time" in text


def test_the_next_namenode() -> None:
    """Where one NameNode is away another one's answer counts, and its error is the one told."""
    with socket.socket() as probe, answering(404, b"This is not the correct port.") as address:
        probe.bind(("127.0.0.1", 0))
        store = store_at(f"127.0.0.1:{probe.getsockname()[1]},{address}")
        text = failure(lambda: store.stat("object"), FailedPrecondition, WRONG)
        assert address in text
