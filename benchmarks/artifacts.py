"""Artifacts through a server: pushed and pulled by the SDK, against plain copies of the same.

With the folder that a server keeps artifacts in by default always; with S3 and HDFS as `stores`.
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

from benchmarks.processes import folder, memory
from benchmarks.report import Figure, Goal, Options
from benchmarks.servers import Served, local
from benchmarks.stores import PIECE, Source, Target, remote_targets
from subgrpc.client import Client

LARGE, QUICK_LARGE = 2 << 30, 256 << 20
"""Bytes of the one large file."""
SMALL, SMALL_SIZE = 10_000, 10_000
"""How many small files, and bytes of each."""
HUGE, QUICK_HUGE = 10 << 30, 1 << 30
"""Bytes that are pushed while the server's memory is looked at."""
BLOCK = 64 << 20
"""Bytes that are random; a large file is made of such."""


def measure(options: Options) -> list[Figure]:
    """Runs everything, store by store."""
    size = QUICK_LARGE if options.quick else LARGE
    figures: list[Figure] = []
    with folder() as here:
        large, small = here / "large", here / "small"
        _make_large(large, size)
        _make_small(small)
        with _server(here / "file") as (server, client):
            figures += _large(options, client, here, large)
            figures += _small(options, client, here, small)
            figures.append(_changed_large(client, here, large))
            figures.append(_changed_small(client, here, small))
        with _server(here / "memory") as (server, client):
            figures.append(_memory(options, server, client, here))
        with remote_targets() as targets:
            for target in targets:
                figures += _remote(options, target, here, large)
    return figures


@contextmanager
def _server(here: Path, *options: str) -> Iterator[tuple[Served, Client]]:
    with ExitStack() as stack:
        here.mkdir()
        server = stack.enter_context(local(here, *options))
        yield server, stack.enter_context(Client(server.address))
    shutil.rmtree(here)


def _make_large(path: Path, size: int) -> None:
    """A file whose blocks are all different, though little of it was random."""
    path.mkdir()
    block = bytearray(secrets.token_bytes(BLOCK))
    with (path / "model.bin").open("wb") as file:
        for number in range(size // BLOCK):
            # Each page, so that no two chunks are equal.
            for page in range(0, BLOCK, 4096):
                block[page : page + 8] = (number * BLOCK + page).to_bytes(8, "big")
            file.write(block)


def _make_small(path: Path) -> None:
    for number in range(SMALL):
        file = path / f"{number // 100:03}" / f"{number:05}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(secrets.token_bytes(SMALL_SIZE))


def _large(options: Options, client: Client, here: Path, source: Path) -> list[Figure]:
    """One large file, against a copy with SHA-256."""
    goal = Goal("ratio", 0.5, at_least=True)
    push = Figure("file: push of one file", "MB/s", [], "copy with sha256", goal=goal)
    pull = Figure("file: pull of one file", "MB/s", [], "copy with sha256", goal=goal)
    target, file = here / "pulled", source / "model.bin"
    size = file.stat().st_size
    for _ in range(options.rounds(3, quick=2)):
        push.limits.append(_rate(size, lambda: _copy(file, here / "copy")))
        push.values.append(_rate(size, lambda: client.artifacts.push(source, name="large")))
        pull.limits.append(_rate(size, lambda: _copy(here / "copy", here / "back")))
        pull.values.append(_rate(size, lambda: client.artifacts.pull("large", target)))
        _same(target / "model.bin", file)
        shutil.rmtree(target)
        _forget(client, "large")
    (here / "copy").unlink()
    (here / "back").unlink()
    client.artifacts.push(source, name="large")
    return [push, pull]


def _small(options: Options, client: Client, here: Path, source: Path) -> list[Figure]:
    """Many small files, against tar."""
    goal = Goal("ratio", 3.0)
    push = Figure(f"file: push of {SMALL:,} files", "s", [], "tar", goal=goal)
    pull = Figure(f"file: pull of {SMALL:,} files", "s", [], "tar", goal=goal)
    target, archive, unpacked = here / "pulled", here / "small.tar", here / "unpacked"
    pack = ["tar", "-cf", str(archive), "-C", str(source), "."]
    unpack = ["tar", "-xf", str(archive), "-C", str(unpacked)]
    for _ in range(options.rounds(5, quick=2)):
        push.limits.append(_seconds(lambda: subprocess.run(pack, check=True)))
        push.values.append(_seconds(lambda: client.artifacts.push(source, name="small")))
        unpacked.mkdir()
        pull.limits.append(_seconds(lambda: subprocess.run(unpack, check=True)))
        pull.values.append(_seconds(lambda: client.artifacts.pull("small", target)))
        shutil.rmtree(target)
        shutil.rmtree(unpacked)
        _forget(client, "small")
    client.artifacts.push(source, name="small")
    return [push, pull]


def _forget(client: Client, name: str) -> None:
    """Deletes an artifact and what it alone needed, so that the next push sends it all."""
    client.artifacts.delete(name)
    for _ in range(2):
        for _ in client.artifacts.collect_garbage(grace=timedelta()):
            pass


def _changed_large(client: Client, here: Path, source: Path) -> Figure:
    """1 % of a large file is overwritten in one place, and a few bytes are put in before it."""
    changed = here / "changed"
    changed.mkdir()
    file = source / "model.bin"
    size = file.stat().st_size
    with file.open("rb") as old, (changed / "model.bin").open("wb") as new:
        left = size // 3
        while left:
            left -= new.write(old.read(min(PIECE, left)))
        new.write(b"inserted")
        new.write(secrets.token_bytes(size // 100))
        old.seek(size // 100, os.SEEK_CUR)
        shutil.copyfileobj(old, new, PIECE)
    pushed = client.artifacts.push(changed)
    moved = 100 * pushed.sent_bytes / pushed.artifact.size_bytes
    shutil.rmtree(changed)
    return Figure("file: one file, 1 % changed: sent", "%", [moved], goal=Goal("value", 5.0))


def _changed_small(client: Client, here: Path, source: Path) -> Figure:
    """One in a hundred of many files is written anew."""
    changed = here / "changed"
    shutil.copytree(source, changed)
    files = sorted(each for each in changed.rglob("*") if each.is_file())
    for each in random.sample(files, len(files) // 100):
        each.write_bytes(secrets.token_bytes(SMALL_SIZE))
    pushed = client.artifacts.push(changed)
    moved = 100 * pushed.sent_bytes / pushed.artifact.size_bytes
    shutil.rmtree(changed)
    return Figure(
        f"file: {SMALL:,} files, 1 % changed: sent", "%", [moved], goal=Goal("value", 5.0)
    )


def _memory(options: Options, server: Served, client: Client, here: Path) -> Figure:
    """How much the server grows while very much is pushed."""
    size = QUICK_HUGE if options.quick else HUGE
    huge = here / "huge"
    _make_large(huge, size)
    before = memory(server.pid)
    greatest = before

    def look(_: object) -> None:
        nonlocal greatest
        greatest = max(greatest, memory(server.pid))

    client.artifacts.push(huge, on_progress=look)
    shutil.rmtree(huge)
    name = f"server's growth, push of {size >> 30} GiB"
    return Figure(name, "MB", [greatest - before], goal=Goal("value", 50.0))


def _remote(options: Options, target: Target, here: Path, source: Path) -> list[Figure]:
    """One large file to another server: through ours, and directly where the store signs."""
    name, plain = target.name, target.plain
    file, pulled = source / "model.bin", here / "pulled"
    size = file.stat().st_size
    it = Source(file, _digest(file))
    ways = {"through our server": (False, 0.5)}
    if name == "s3":
        ways["directly"] = (True, 0.9)
    figures = []
    settings = [f"{key}={value}" for key, value in target.settings.items()]
    words = [word for each in settings for word in ("--artifact-option", each)]
    with _server(here / name, "--artifacts", target.url, *words) as (_, client):
        for way, (direct, bound) in ways.items():
            goal = Goal("ratio", bound, at_least=True)
            push = Figure(f"{name}: push {way}", "MB/s", [], plain.name, goal=goal)
            pull = Figure(f"{name}: pull {way}", "MB/s", [], plain.name, goal=goal)
            figures += [push, pull]
            send = partial(client.artifacts.push, source, name="large", direct=direct)
            receive = partial(client.artifacts.pull, "large", pulled, direct=direct)
            for _ in range(options.rounds(3, quick=2)):
                push.limits.append(_rate(size, partial(plain.put, it)))
                push.values.append(_rate(size, send))
                pull.limits.append(_rate(size, partial(plain.get, it)))
                pull.values.append(_rate(size, receive))
                _same(pulled / "model.bin", file)
                shutil.rmtree(pulled)
                _forget(client, "large")
    return figures


def _digest(path: Path) -> bytes:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
    return found.digest()


def _copy(source: Path, target: Path) -> None:
    """Copies a file with SHA-256; it is on the disk then."""
    found = hashlib.sha256()
    with source.open("rb") as old, target.open("wb") as new:
        while piece := old.read(PIECE):
            found.update(piece)
            new.write(piece)
        new.flush()
        os.fsync(new.fileno())


def _same(one: Path, other: Path) -> None:
    with one.open("rb") as first, other.open("rb") as second:
        while piece := first.read(PIECE):
            if piece != second.read(PIECE):
                raise RuntimeError(f"{one} is not as {other}")


def _seconds(work: Callable[[], object]) -> float:
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def _rate(size: int, work: Callable[[], object]) -> float:
    return size / _seconds(work) / 1e6
