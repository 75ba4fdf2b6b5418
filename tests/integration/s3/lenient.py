"""A server that speaks S3 carelessly: it knows no conditions and compares no checksums.

It asks the real one for what it is asked, without looking at signatures.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from botocore.exceptions import ClientError

from tests.integration.s3.servers import Bucket


class Careless(BaseHTTPRequestHandler):
    """No parts; of a list it tells whether there is one object."""

    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer("put_object", Body=body)

    def do_GET(self) -> None:
        prefix = parse_qs(urlsplit(self.path).query).get("prefix")
        if prefix is not None:
            self.list(prefix[0])
            return
        more = {"Range": self.headers["Range"]} if "Range" in self.headers else {}
        self.answer("get_object", **more)

    def list(self, prefix: str) -> None:
        found = self.bucket.client.list_objects_v2(Bucket=self.bucket.name, Prefix=prefix)
        objects = "".join(
            f"<Contents><Key>{each['Key']}</Key><Size>{each['Size']}</Size>"
            f"<LastModified>{each['LastModified'].isoformat()}</LastModified></Contents>"
            for each in found.get("Contents", ())
        )
        name = self.bucket.name
        text = f"<ListBucketResult><Name>{name}</Name>{objects}</ListBucketResult>".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_DELETE(self) -> None:
        self.answer("delete_object")

    def answer(self, operation: str, **more: Any) -> None:
        bucket, _, key = unquote(urlsplit(self.path).path)[1:].partition("/")
        try:
            answer = getattr(self.bucket.client, operation)(Bucket=bucket, Key=key, **more)
        except ClientError as error:
            answer = error.response
        meta = answer["ResponseMetadata"]
        data = answer["Body"].read() if "Body" in answer else self.error(answer)
        self.send_response(meta["HTTPStatusCode"])
        for name in ("etag", "last-modified", "content-range"):
            if name in meta["HTTPHeaders"]:
                self.send_header(name, meta["HTTPHeaders"][name])
        if meta["HTTPStatusCode"] != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def error(self, answer: Any) -> bytes:
        if "Error" not in answer:
            return b""
        return f"<Error><Code>{answer['Error']['Code']}</Code></Error>".encode()

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def lenient(bucket: Bucket) -> Iterator[str]:
    """The address of such a server."""
    handler = type("Handler", (Careless,), {"bucket": bucket})
    made = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    made.daemon_threads = True
    thread = threading.Thread(target=made.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_address[1]}"
    finally:
        made.shutdown()
        made.server_close()
        thread.join()
