"""A client process: watches, breaks off, resumes, and keeps every frame.

    python -m tests.crash.watchers SETTINGS.json

Each call is written down with the token that it began with, and each of its frames. On SIGTERM the
endless watchers go on until they have come to the revision in the file `final`.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any

import grpc
import grpc.aio

from subgrpc.agent import libc
from subgrpc.client import AsyncClient
from subgrpc.v1.experiment_service_pb2 import WatchExperimentsRequest, WatchExperimentsResponse
from subgrpc.v1.experiment_service_pb2_grpc import ExperimentServiceStub

from .history import FILTERS, call_line, frame_line, token_position

PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)
"""How calls end when a server dies, when their time is over, and when they meet one that stops."""
OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 300),
]
"""gRPC would wait for up to two minutes, and fail every call meanwhile."""
LAST_SECONDS = 45.0
"""After SIGTERM every watcher comes to the last revision in so many seconds."""


class Watchers:
    """All of them."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._rng = random.Random(settings["seed"])
        self._folder = Path(settings["folder"])
        self._file: IO[str] = open(self._folder / "watches.jsonl", "a")  # noqa: SIM115
        self._channels = [
            grpc.aio.insecure_channel(each, OPTIONS) for each in settings["addresses"]
        ]
        self._final: int | None = None
        self._until = 0.0
        self._tokens: list[str] = []

    async def run(self) -> None:
        """Works until all that is endless has come to the end."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._finish)
        endless = [
            *(self._sdk(f"sdk-{name}", name) for name in ("all", "running", "multi")),
            *(self._raw(f"raw-{name}", name, 3600.0) for name in ("all", "quick")),
            self._raw("restless", "all", 0.6),
        ]
        await asyncio.gather(*endless, *(self._travel(n) for n in range(2)))
        self._file.close()

    def _finish(self) -> None:
        self._final = int((self._folder / "final").read_text())
        self._until = time.monotonic() + LAST_SECONDS

    def _over(self, token: str) -> bool:
        """Whether an endless watcher has seen all, or has to give up."""
        if self._final is None:
            return False
        revision, place = token_position(token) if token else (0, None)
        return (revision >= self._final and place is None) or time.monotonic() > self._until

    async def _sdk(self, watcher: str, name: str) -> None:
        """The SDK's own watch, from the beginning, which resumes by itself."""
        client = AsyncClient(self._rng.choice(self._settings["addresses"]))
        stream = client.watch(filter=FILTERS[name].text, patience=120.0)
        self._file.write(call_line(watcher, name, "", sdk=True))
        async for frame in stream:
            self._file.write(frame_line(watcher, frame))
            if self._over(stream.resume_token):
                break
        await client.close()

    async def _raw(self, watcher: str, name: str, longest: float) -> None:
        """Calls that go on behind the last token, each for at most about `longest` seconds."""
        token = ""
        while not self._over(token):
            self._file.write(call_line(watcher, name, token))
            async for frame in self._call(name, token, longest * (0.2 + self._rng.random())):
                self._file.write(frame_line(watcher, frame))
                token = frame.resume_token
                if name == "all" and self._rng.random() < 0.02:
                    self._tokens.append(token)
                if self._over(token):
                    break
            await asyncio.sleep(0.02 + self._rng.random() * 0.1)

    async def _travel(self, number: int) -> None:
        """Short calls that go on behind tokens of others, from any time."""
        count = 0
        while self._final is None:
            await asyncio.sleep(self._rng.random() * 2)
            complete = [each for each in self._tokens[-2000:] if token_position(each)[1] is None]
            if not complete:
                continue
            count += 1
            token, watcher = self._rng.choice(complete[-200:]), f"travel-{number}-{count}"
            self._file.write(call_line(watcher, "all", token))
            async for frame in self._call("all", token, 2.0):
                self._file.write(frame_line(watcher, frame))

    async def _call(
        self, name: str, token: str, seconds: float
    ) -> AsyncIterator[WatchExperimentsResponse]:
        """The frames of one call, until it breaks or its time is over."""
        stub = ExperimentServiceStub(self._rng.choice(self._channels))
        request = WatchExperimentsRequest(
            parent="teams/default", filter=FILTERS[name].text, resume_token=token
        )
        try:
            async for frame in stub.WatchExperiments(request, timeout=seconds):
                yield frame
        except grpc.aio.AioRpcError as error:
            if error.code() not in PASSING:
                line = {"what": "watch", "text": f"{error.code()}: {error.details()}"}
                with (self._folder / "violations.jsonl").open("a") as file:
                    file.write(json.dumps(line) + "\n")
                await asyncio.sleep(1.0)


async def main(settings: dict[str, Any]) -> None:
    """Watches until SIGTERM, and then to the end."""
    libc.die_with_parent(signal.SIGKILL)
    await Watchers(settings).run()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
