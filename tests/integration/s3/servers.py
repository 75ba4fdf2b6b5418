"""The S3 server of the testbed, others like it, and the ways to them."""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from subgrpc.artifacts import StoreSettings
from subgrpc.names import new_uid
from tests.integration.postgres.conftest import Toxiproxy, free_port

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Bucket:
    """A bucket of a server, looked at without the store."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.name = name
        self.client: S3Client = boto3.client(
            "s3", endpoint_url=url, config=Config(s3={"addressing_style": "path"})
        )

    def prefix(self) -> str:
        return f"test/{new_uid()}"

    def settings(self, prefix: str, url: str = "", **options: str) -> StoreSettings:
        more = {"endpoint_url": url or self.url, "addressing": "path", **options}
        return StoreSettings("lake", f"s3://{self.name}/{prefix}", more)

    def uploads(self, prefix: str) -> list[tuple[str, str]]:
        """Uploads in parts that have come to no end."""
        found = self.client.list_multipart_uploads(Bucket=self.name, Prefix=prefix)
        return [(each["Key"], each["UploadId"]) for each in found.get("Uploads", ())]

    def clear(self, prefix: str) -> None:
        pages = self.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.name, Prefix=prefix):
            for each in page.get("Contents", ()):
                self.client.delete_object(Bucket=self.name, Key=each["Key"])
        for key, upload in self.uploads(prefix):
            self.client.abort_multipart_upload(Bucket=self.name, Key=key, UploadId=upload)


class Users:
    """Users of the testbed's server, which have no rights of their own."""

    def __init__(self, bucket: Bucket, credentials: Path) -> None:
        self._bucket = bucket
        self._credentials = credentials

    def add(self) -> str:
        """A new user; the name of its profile."""
        access, secret = new_uid(), new_uid()
        words = ["create-user", "--access", access, "--secret", secret, "--role", "user"]
        self._admin(*words)
        self.profile(access, access, secret)
        return access

    def profile(self, name: str, access: str, secret: str) -> None:
        """Credentials, of users that there are or not."""
        with self._credentials.open("a") as file:
            file.write(
                f"[{name}]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n"
            )

    def _admin(self, *words: str) -> None:
        subprocess.run(
            [os.environ["S3_PROGRAM"], "admin", "--endpoint-url", self._bucket.url, *words],
            env={
                **os.environ,
                "ADMIN_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
                "ADMIN_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
            },
            check=True,
            capture_output=True,
        )


class Detour:
    """A way to a server on which things go wrong."""

    def __init__(self, toxiproxy: Toxiproxy, url: str) -> None:
        self._toxiproxy = toxiproxy
        port = free_port()
        self._name = f"s3-{port}"
        proxy = {
            "name": self._name,
            "listen": f"127.0.0.1:{port}",
            "upstream": urlsplit(url).netloc,
        }
        toxiproxy.call("POST", "/proxies", proxy)
        self.url = f"http://127.0.0.1:{port}"

    def enable(self, enabled: bool) -> None:
        """Ends every connection and refuses new ones, or accepts them again."""
        self._toxiproxy.call("POST", f"/proxies/{self._name}", {"enabled": enabled})

    @contextlib.contextmanager
    def poisoned(self, kind: str, stream: str, **attributes: Any) -> Iterator[None]:
        """A toxic, see toxiproxy's documentation; connections that it has met are ended after."""
        toxic = {"name": kind, "type": kind, "stream": stream, "attributes": attributes}
        self._toxiproxy.call("POST", f"/proxies/{self._name}/toxics", toxic)
        try:
            yield
        finally:
            self._toxiproxy.call("DELETE", f"/proxies/{self._name}/toxics/{kind}")
            self.enable(False)
            self.enable(True)


@contextlib.contextmanager
def server(
    folder: Path, log: Path, *words: str, port: int = 0, scheme: str = "http", ca: str = ""
) -> Iterator[str]:
    """A server of a folder of buckets; its address. `ca`: who vouches for it, with https."""
    port = port or free_port()
    env = {
        **os.environ,
        "ROOT_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
        "ROOT_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
    }
    command = [os.environ["S3_PROGRAM"], "--port", f"127.0.0.1:{port}", "--health", "/health"]
    with log.open("ab") as sink:
        child = subprocess.Popen(
            [*command, "--keep-alive", *words, "posix", str(folder)],
            stdout=sink,
            stderr=sink,
            env=env,
        )
    url = f"{scheme}://127.0.0.1:{port}"
    try:
        wait(f"{url}/health", ca)
        yield url
    finally:
        child.kill()
        child.wait()


def wait(url: str, ca: str) -> None:
    """Until there is an answer."""
    context = ssl.create_default_context(cafile=ca or None)
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    opener = urllib.request.build_opener(*handlers)
    deadline = time.monotonic() + 20
    while True:
        try:
            opener.open(url, timeout=5).close()
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline, f"no server at {url}"
            time.sleep(0.05)
        else:
            return
