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
from contextlib import contextmanager
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


def measure(options: Options) -> list[Figure]:
    """Runs what there is."""
    count = 4 if options.quick else 16
    figures: list[Figure] = []
    with folder() as here:
        sources = [_source(here / f"source-{number}") for number in range(count)]
        target = here / "store"
        target.mkdir()
        figures += _compare(options, "file", target.as_uri(), {}, 0.5, _copies(here), sources)
        if "S3_BUCKET" in os.environ:
            figures += _s3(options, sources)
        if "HDFS_WEBHDFS_URL" in os.environ:
            figures += _hdfs(options, sources)
    return figures


def _source(path: Path) -> Source:
    data = secrets.token_bytes(SIZE)
    path.write_bytes(data)
    return Source(path, hashlib.sha256(data).digest())


def _compare(
    options: Options,
    kind: str,
    url: str,
    settings: dict[str, str],
    goal: float,
    plain: Plain,
    sources: list[Source],
) -> list[Figure]:
    """Puts and gets in turns with the plain way; MB/s of all threads together."""
    store = open_store(StoreSettings(kind, url, settings), PluginManager())
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
    _check(store.get(keys[source]), source)


def _check(pieces: Iterator[bytes], source: Source) -> None:
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
            _check(iter(lambda: file.read(PIECE), b""), source)

    return Plain("copy with sha256", put, get)


def _s3(options: Options, sources: list[Source]) -> list[Figure]:
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
        key = f"{prefix}/plain/{source.path.name}"
        target = source.path.with_suffix(".back")
        client.download_file(bucket, key, str(target))
        with target.open("rb") as file:
            _check(iter(lambda: file.read(PIECE), b""), source)

    settings = {"endpoint_url": endpoint} if endpoint else {}
    plain = Plain("boto3", put, get)
    with _removed(lambda source: client.delete_object(
        Bucket=bucket, Key=f"{prefix}/plain/{source.path.name}"
    ), sources):
        url = f"s3://{bucket}/{prefix}/store"
        return _compare(options, "s3", url, settings, 0.8, plain, sources)


def _hdfs(options: Options, sources: list[Source]) -> list[Figure]:
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
            _check(pieces, source)

    url = f"hdfs://{address.partition('://')[2]}{root}/store"
    plain = Plain("hdfs client", put, get)
    with _removed(lambda _: client.delete(root, recursive=True), sources[:1]):
        return _compare(options, "hdfs", url, {"user": "root"}, 0.8, plain, sources)


@contextmanager
def _removed(remove: Callable[[Source], object], sources: list[Source]) -> Iterator[None]:
    try:
        yield
    finally:
        for each in sources:
            remove(each)
