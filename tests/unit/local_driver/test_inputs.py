"""The cache of inputs on a host: once, whole, verified, within its limit, never under a run."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from subgrpc.driver import FilePiece, InputFile
from subgrpc.driver.local import cache as caching
from subgrpc.driver.local.cache import InputCache
from subgrpc.errors import DataLoss, Unavailable
from subgrpc.testing.fake_inputs import GivenFiles

GIB = 1 << 30


def given(number: int = 0, size: int = 10) -> GivenFiles:
    return GivenFiles({"d/f": b"%d" % number * size, "x": b"x"})


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def cache(tmp_path: Path) -> InputCache:
    return InputCache(tmp_path, GIB)


async def put(cache: InputCache, files: GivenFiles) -> str:
    wanted = files.wanted("data")
    await cache.put(wanted, files)
    return wanted.digest


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


async def test_a_run_gets_the_files(cache: InputCache, tmp_path: Path) -> None:
    """Read-only; without a copy of the bytes where the file system has links or can share."""
    digest = await put(cache, given(1))
    cache.place(digest, tmp_path / "run" / "data")
    assert content(tmp_path / "run" / "data") == {"d/f": b"1" * 10, "x": b"x"}
    assert (tmp_path / "run" / "data" / "x").stat().st_mode & 0o777 == 0o444
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["data"]


async def test_links_and_modes(cache: InputCache, tmp_path: Path) -> None:
    """Programs stay executable, and links stay links."""

    class WithLink(GivenFiles):
        async def files(self) -> AsyncIterator[Sequence[InputFile]]:
            async for files in super().files():
                files[0].mode = 0o755
                yield [*files, InputFile(path="link", link_target="d/f", mode=0o777)]

    files = WithLink({"d/f": b"run me"})
    wanted = files.wanted("data")
    lines = f"{digest_of(b'run me')} 755 6 d/f\0{digest_of(b'd/f')} 120000 0 link\0"
    wanted.digest = digest_of(lines.encode())
    await cache.put(wanted, files)
    cache.place(wanted.digest, tmp_path / "run" / "data")
    assert (tmp_path / "run/data/d/f").stat().st_mode & 0o777 == 0o555
    assert os.readlink(tmp_path / "run/data/link") == "d/f"


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "", "a//b", "."])
async def test_no_path_leads_out(cache: InputCache, tmp_path: Path, path: str) -> None:
    """Whatever the caller says that the files are called."""

    class Evil(GivenFiles):
        async def files(self) -> AsyncIterator[Sequence[InputFile]]:
            yield [InputFile(path=path, size_bytes=1, sha256="0" * 64)]

    with pytest.raises(DataLoss):
        await put(cache, Evil({"x": b"x"}))
    assert os.listdir(tmp_path) == ["inputs"]


@pytest.mark.parametrize("path", ["f", "f/g"])
async def test_links_are_not_written_through(cache: InputCache, tmp_path: Path, path: str) -> None:
    """A link, and a file of its path or below it: nothing outside is touched."""
    (tmp_path / "victim").mkdir()

    class Evil(GivenFiles):
        async def files(self) -> AsyncIterator[Sequence[InputFile]]:
            yield [InputFile(path="f", link_target=str(tmp_path / "victim"))]
            yield [InputFile(path=path, size_bytes=4, sha256=digest_of(b"evil"))]

        async def read(self, files: Sequence[InputFile]) -> AsyncIterator[FilePiece]:
            if files:
                yield FilePiece(file=0, offset=0, data=b"evil")

    with pytest.raises((OSError, DataLoss)):
        await put(cache, Evil({}))
    assert os.listdir(tmp_path / "victim") == []


async def test_many_at_once_read_it_once(tmp_path: Path) -> None:
    """Of several drivers on one folder, too: they wait for each other by a lock on a file."""
    files = given(1)
    wanted = files.wanted("data")
    caches = [InputCache(tmp_path, GIB) for _ in range(3)]
    await asyncio.gather(*(cache.put(wanted, files) for cache in caches for _ in range(3)))
    assert files.reads == 1


async def test_half_an_input_is_never_used(cache: InputCache, tmp_path: Path) -> None:
    """One that a killed server has left is made anew."""
    code = """
import asyncio, os, sys
from pathlib import Path
from subgrpc.driver.local.cache import InputCache
from subgrpc.testing.fake_inputs import GivenFiles
class Dies(GivenFiles):
    async def read(self, files):
        async for piece in super().read(files):
            yield piece
        os.kill(os.getpid(), 9)
files = Dies({"d/f": b"1" * 10, "x": b"x"})
asyncio.run(InputCache(Path(sys.argv[1]), 1 << 30).put(files.wanted("data"), files))
"""
    killed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code, str(tmp_path)], check=False
    )
    assert killed.returncode == -9
    assert list((tmp_path / "inputs").glob(".*.half"))
    files = given(1)
    assert not cache.has(files.wanted("data").digest)
    digest = await put(cache, files)
    assert cache.has(digest)
    assert not list((tmp_path / "inputs").glob(".*.half"))


async def test_what_was_tampered_with_is_fetched_again(cache: InputCache, tmp_path: Path) -> None:
    """A task may have written to its file as root: that is seen before the next run has it."""
    digest = await put(cache, given(1))
    cache.place(digest, tmp_path / "one")
    os.chmod(tmp_path / "one" / "x", 0o600)
    (tmp_path / "one" / "x").write_bytes(b"changed")
    if os.stat(tmp_path / "inputs" / digest / "files" / "x").st_nlink > 1:  # else it is a copy
        with pytest.raises(Unavailable) as caught:
            cache.place(digest, tmp_path / "two")
        assert caught.value.reason == "INPUT_MISSING"
        assert not cache.has(digest)
        await put(cache, given(1))
    cache.place(digest, tmp_path / "two")
    assert content(tmp_path / "two")["x"] == b"x"


async def test_what_was_not_used_for_longest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit; not what a run has, nor what was just used."""
    monkeypatch.setattr(caching, "FRESH", 0.0)
    cache = InputCache(tmp_path, 250_000)
    digests = []
    for number in range(4):
        digests.append(await put(cache, given(number, 100_000)))
        os.utime(tmp_path / "inputs" / digests[-1] / "index", (time.time(), number))
        if number == 0:
            cache.place(digests[0], tmp_path / "run")
            os.utime(tmp_path / "inputs" / digests[0] / "index", (0, 0))
    cache.evict()
    there = [cache.has(digest) for digest in digests]
    assert there[-2:] == [True, True]
    assert there[1] is False
    assert content(tmp_path / "run")["x"] == b"x"
    monkeypatch.setattr(caching, "FRESH", 60.0)
    for number in range(5, 8):
        assert cache.has(await put(cache, given(number, 100_000)))
    assert sum(cache.has(given(n, 100_000).wanted("").digest) for n in range(5, 8)) == 3


async def test_ten_thousand_files(cache: InputCache, tmp_path: Path) -> None:
    """They come and are placed, all of them."""
    files = GivenFiles({f"d{n % 7}/{n}": b"%d" % n for n in range(10_000)})
    digest = await put(cache, files)
    cache.place(digest, tmp_path / "run")
    assert len(content(tmp_path / "run")) == 10_000
