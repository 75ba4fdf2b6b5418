"""A client process: submits, cancels, deletes, labels, waits for and follows experiments.

    python -m tests.crash.submitters SETTINGS.json

Whatever is acknowledged is appended to files at once. On SIGTERM nothing new is submitted; what is
under way is carried to its end. This process is never killed.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from subgrpc.agent import libc
from subgrpc.client import AsyncClient
from subgrpc.errors import SubgrpcError, Unavailable
from subgrpc.v1.experiment_service_pb2 import Experiment, LogChunk, StreamLogsResponse

from . import workload

T = TypeVar("T")
PATIENCE = 120.0
"""Seconds after which a server that does not answer is a violation."""


class Follower:
    """What one follower has got of an experiment's output, compared with what was written."""

    def __init__(self, kind: str, uid: str) -> None:
        self.sizes: dict[str, int] = {}
        self.faults: list[str] = []
        self.ended = False
        self._kind, self._uid = kind, uid

    def take(self, frame: StreamLogsResponse) -> None:
        """Takes a frame."""
        what = frame.WhichOneof("frame")
        if what == "chunk":
            self._chunk(frame.chunk)
        elif what == "gap":
            self.faults.append(f"gap of {frame.gap.length}: {frame.gap.message}")
        elif what == "end":
            self.ended = True

    def _chunk(self, chunk: LogChunk) -> None:
        stream = "err" if chunk.stream == 2 else "out"
        key = f"{chunk.attempt} {chunk.task} {stream}"
        known = self.sizes.get(key, 0)
        if chunk.offset != known:
            self.faults.append(f"{key}: offset {chunk.offset} came, {known} was next")
        task_uid = f"{self._uid}-{chunk.attempt}-{chunk.task}"
        expected = workload.output(self._kind, task_uid, stream)
        end = chunk.offset + len(chunk.data)
        if expected[chunk.offset : end] != chunk.data:
            self.faults.append(f"{key}: other bytes from {chunk.offset} to {end}")
        self.sizes[key] = end


class Submitters:
    """All of them: they share one client for each server."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._rng = random.Random(settings["seed"])
        self._clients = [AsyncClient(each, timeout=5.0) for each in settings["addresses"]]
        self._folder = Path(settings["folder"])
        self._stopping = False
        self._count = 0

    async def run(self) -> None:
        """Works until SIGTERM."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop)
        await asyncio.gather(*(self._work() for _ in range(self._settings["submitters"])))

    def _stop(self) -> None:
        self._stopping = True

    async def _work(self) -> None:
        while not self._stopping:
            self._count += 1
            kind = workload.choose(self._rng)
            rid = f"{self._settings['seed']}-{self._count}"
            try:
                await self._one(kind, rid)
            except SubgrpcError as error:
                self._note("violations", what="client", rid=rid, text=f"{error.reason}: {error}")

    async def _one(self, kind: str, rid: str) -> None:
        rng = self._rng
        client = rng.choice(self._clients)
        wanted = workload.experiment(
            kind, rid, self._settings["env"], rng.choice(self._settings["clusters"])
        )
        own = f"e{rid}" if rng.random() < 0.5 else ""
        self._note("intents", rid=rid, kind=kind)
        made = await self._insist(
            lambda: client.create_experiment(wanted, experiment_id=own, request_id=rid)
        )
        self._note("acks", rid=rid, uid=made.uid, name=made.name, kind=kind)
        if rng.random() < 0.1:  # a repeat is answered with the same experiment
            again = await self._insist(
                lambda: client.create_experiment(wanted, experiment_id=own, request_id=rid)
            )
            self._note("acks", rid=rid, uid=again.uid, name=again.name, kind=kind)
        await self._go_on(client, kind, made)

    async def _go_on(self, client: AsyncClient, kind: str, made: Experiment) -> None:
        action, rng = workload.KINDS[kind].action, self._rng
        request = f"{action}-{made.uid}"
        if action:
            await asyncio.sleep(rng.random() * 1.5)
        if action == "cancel":
            await self._insist(lambda: client.cancel_experiment(made.name, request_id=request))
        elif action == "delete":
            self._note("deletes", uid=made.uid)
            await self._insist(
                lambda: client.delete_experiment(
                    made.name, force=True, allow_missing=True, request_id=request
                )
            )
            self._note("deleted", uid=made.uid)
            return
        elif action == "label":
            labels = {**made.labels, "changed": "yes"}
            await self._insist(
                lambda: client.update_experiment(made.name, labels=labels, request_id=request)
            )
            self._note("labelled", uid=made.uid)
        if rng.random() < 0.4:
            await self._follow(client, kind, made)
        else:
            ended = await self._insist(lambda: client.wait(made.name, patience=PATIENCE))
            self._note(
                "waits", uid=made.uid, state=int(ended.state), end=ended.end_time.ToNanoseconds()
            )

    async def _follow(self, client: AsyncClient, kind: str, made: Experiment) -> None:
        follower, remembered = Follower(kind, made.uid), ("", {})
        stream = client.follow_logs(made.name, patience=PATIENCE)
        async for frame in stream:
            follower.take(frame)
            if self._rng.random() < 0.05:
                remembered = frame.resume_token, dict(follower.sizes)
        self._follower("follows", made, follower)
        token, sizes = remembered
        if token:
            again = Follower(kind, made.uid)
            again.sizes = dict(sizes)
            async for frame in client.follow_logs(made.name, resume_token=token, patience=PATIENCE):
                again.take(frame)
            if again.sizes != follower.sizes:
                again.faults.append(f"resumed: {again.sizes}, at once: {follower.sizes}")
            self._follower("follows", made, again)

    def _follower(self, file: str, made: Experiment, follower: Follower) -> None:
        self._note(
            file,
            uid=made.uid,
            sizes=follower.sizes,
            faults=follower.faults[:5],
            ended=follower.ended,
        )

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Tries until the server has answered, with the same request id each time."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return await call()
            except Unavailable:
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(0.05 + self._rng.random() * 0.1)

    def _note(self, file: str, /, **facts: Any) -> None:
        """Appends a fact to a file, at once."""
        with open(self._folder / f"{file}.jsonl", "ab", buffering=0) as out:
            out.write(json.dumps(facts).encode() + b"\n")


async def main(settings: dict[str, Any]) -> None:
    """Submits until SIGTERM."""
    libc.die_with_parent(signal.SIGKILL)
    await Submitters(settings).run()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
