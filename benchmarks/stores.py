"""Artifact stores by themselves, against the plain way to move the same bytes.

A folder always; S3 where `S3_ENDPOINT_URL` and `S3_BUCKET` are set, HDFS where `HDFS_WEBHDFS_URL`
is: as tests/testbeds/s3/up and tests/testbeds/yarn/up print them.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.processes import folder
from benchmarks.report import Figure, Goal, Options, Skipped
from subgrpc.artifacts import ArtifactStore, StoreSettings
from subgrpc.artifacts.blobs import object_key
from subgrpc.names import new_uid
from subgrpc.plugins import PluginManager, open_store

SIZE = 64 << 20
"""Bytes of an object: the most that a blob may have."""
THREADS = 4
"""Transfers at the same time, of the store and of what it is compared with."""
PIECE = 1 << 20


class Source(NamedTuple):
    """A file to be stored."""

    path: Path
    sha256: bytes


class Plain(NamedTuple):
    """The plain way: how a file gets there, and how its bytes come back."""

    name: str
    put: Callable[[Source], None]
    get: Callable[[Source], None]


class Target(NamedTuple):
    """A store, and the plain way to its server.

    Attributes:
        name: which.
        url: of a place in it that is empty.
        settings: its options.
        plain: the plain way.
    """

    name: str
    url: str
    settings: dict[str, str]
    plain: Plain


def measure(options: Options) -> list[Figure]:
    """Runs what there is."""
    count = 4 if options.quick else 16
    figures: list[Figure] = []
    with ExitStack() as stack:
        here = stack.enter_context(folder())
        sources = [_source(here / f"source-{number}") for number in range(count)]
        (here / "store").mkdir()
        file = Target("file", (here / "store").as_uri(), {}, _copies(here))
        figures += _compare(options, file, 0.5, sources)
        for target in stack.enter_context(remote_targets()):
            figures += _compare(options, target, 0.8, sources)
    return figures


@contextmanager
def remote_targets() -> Iterator[list[Target]]:
    """S3 and HDFS, as far as the environment names them; what was put there is removed."""
    with ExitStack() as stack:
        targets = []
        if "S3_BUCKET" in os.environ:
            targets.append(stack.enter_context(_s3()))
        if "HDFS_WEBHDFS_URL" in os.environ:
            targets.append(stack.enter_context(_hdfs()))
        yield targets


def _source(path: Path) -> Source:
    data = secrets.token_bytes(SIZE)
    path.write_bytes(data)
    return Source(path, hashlib.sha256(data).digest())


def _compare(options: Options, target: Target, goal: float, sources: list[Source]) -> list[Figure]:
    """Puts and gets in turns with the plain way; MB/s of all threads together."""
    kind, plain = target.name, target.plain
    store = open_store(StoreSettings(kind, target.url, target.settings), PluginManager())
    wanted = Goal("ratio", goal, at_least=True)
    puts = Figure(f"{kind}: put", "MB/s", [], plain.name, goal=wanted)
    gets = Figure(f"{kind}: get", "MB/s", [], plain.name, goal=wanted)
    with ThreadPoolExecutor(THREADS) as threads:
        for _ in range(options.rounds(5, quick=2)):
            keys = {each: object_key(each.sha256, new_uid()) for each in sources}
            puts.limits.append(_rate(threads, sources, plain.put))
            puts.values.append(_rate(threads, sources, partial(_put, store, keys)))
            gets.limits.append(_rate(threads, sources, plain.get))
            gets.values.append(_rate(threads, sources, partial(_get, store, keys)))
            for key in keys.values():
                store.delete(key)
    store.close()
    return [puts, gets]


def _rate(
    threads: ThreadPoolExecutor, sources: list[Source], transfer: Callable[[Source], None]
) -> float:
    """MB/s at which all files are transferred."""
    begin = time.monotonic()
    list(threads.map(transfer, sources))
    return len(sources) * SIZE / (time.monotonic() - begin) / 1e6


def _put(store: ArtifactStore, keys: Mapping[Source, str], source: Source) -> None:
    store.put(keys[source], source.path, SIZE, source.sha256)


def _get(store: ArtifactStore, keys: Mapping[Source, str], source: Source) -> None:
    check(store.get(keys[source]), source)


def check(pieces: Iterator[bytes], source: Source) -> None:
    """Reads to the end, and sees that these are the bytes."""
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
    if found.digest() != source.sha256:
        raise RuntimeError(f"{source.path} came back as something else")


def _copies(here: Path) -> Plain:
    """A file copy with SHA-256, on the disk when it is done."""

    def put(source: Source) -> None:
        found = hashlib.sha256()
        copy = here / f"{source.path.name}.copy"
        with source.path.open("rb") as file, copy.open("wb") as target:
            while piece := file.read(PIECE):
                found.update(piece)
                target.write(piece)
            target.flush()
            os.fsync(target.fileno())

    def get(source: Source) -> None:
        with (here / f"{source.path.name}.copy").open("rb") as file:
            check(iter(lambda: file.read(PIECE), b""), source)

    return Plain("copy with sha256", put, get)


@contextmanager
def _s3() -> Iterator[Target]:
    try:
        import boto3
    except ImportError as error:
        raise Skipped("boto3 is not installed") from error
    endpoint, bucket = os.environ.get("S3_ENDPOINT_URL", ""), os.environ["S3_BUCKET"]
    prefix = f"bench-{secrets.token_hex(4)}"
    client: Any = boto3.client("s3", endpoint_url=endpoint or None)

    def put(source: Source) -> None:
        client.upload_file(str(source.path), bucket, f"{prefix}/plain/{source.path.name}")

    def get(source: Source) -> None:
        back = source.path.with_suffix(".back")
        client.download_file(bucket, f"{prefix}/plain/{source.path.name}", str(back))
        with back.open("rb") as file:
            check(iter(lambda: file.read(PIECE), b""), source)
        back.unlink()

    settings = {"endpoint_url": endpoint} if endpoint else {}
    try:
        yield Target("s3", f"s3://{bucket}/{prefix}/store", settings, Plain("boto3", put, get))
    finally:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for each in page.get("Contents", ()):
                client.delete_object(Bucket=bucket, Key=each["Key"])


@contextmanager
def _hdfs() -> Iterator[Target]:
    try:
        from hdfs import InsecureClient
    except ImportError as error:
        raise Skipped("hdfs is not installed") from error
    address = os.environ["HDFS_WEBHDFS_URL"]
    root = f"/tmp/bench-{secrets.token_hex(4)}"
    client: Any = InsecureClient(address, user="root", timeout=60)

    def put(source: Source) -> None:
        with source.path.open("rb") as file:
            client.write(f"{root}/plain/{source.path.name}", file, overwrite=True)

    def get(source: Source) -> None:
        with client.read(f"{root}/plain/{source.path.name}", chunk_size=PIECE) as pieces:
            check(pieces, source)

    client.makedirs(f"{root}/store")
    url = f"hdfs://{address.partition('://')[2]}{root}/store"
    try:
        yield Target("hdfs", url, {"user": "root"}, Plain("hdfs client", put, get))
    finally:
        client.delete(root, recursive=True)
