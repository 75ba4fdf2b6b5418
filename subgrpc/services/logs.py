"""The use case StreamLogs: the output of an experiment, followed, resumed, from its tail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from subgrpc.journal import JournalStore
from subgrpc.metastore import Metastore
from subgrpc.services.log_batches import LogBatches
from subgrpc.services.log_follower import HEARTBEAT, Follower, Sources
from subgrpc.services.log_frames import Cursor, FrameBuilder
from subgrpc.services.log_places import Peers, Places
from subgrpc.services.log_store import LogCache
from subgrpc.services.log_target import Target, find_target
from subgrpc.tokens import TokenCodec
from subgrpc.v1.experiment_service_pb2 import StreamLogsRequest


class Logs:
    """Streams logs from the journals of this server, and of those that share its metastore."""

    def __init__(
        self,
        metastore: Metastore,
        journals: JournalStore,
        tokens: TokenCodec,
        heartbeat: float = HEARTBEAT,
        peers: Peers | None = None,
        cache: LogCache | None = None,
    ) -> None:
        """Takes what they are read from; `peers` where the metastore is shared."""
        self._metastore = metastore
        self._tokens = tokens
        self.batches = LogBatches()
        self._sources = Sources(
            metastore=metastore,
            journals=journals,
            batches=self.batches,
            places=Places(metastore, journals, cache, peers=peers is not None),
            cache=cache,
            peers=peers,
            heartbeat=heartbeat,
        )

    async def stream(
        self, request: StreamLogsRequest, draining: asyncio.Event, *, hop: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """Yields serialised StreamLogsResponse messages.

        At most one batch, about 128 KiB, is read ahead of whoever takes them: a slow one costs
        no more memory than that. Close the generator (`contextlib.aclosing`) when it is not taken
        to its end.

        Args:
            request: already validated against the rules of its fields.
            draining: set when the server is about to stop: the stream then ends with a bookmark.
            hop: another server asks, for the part of its answer that is the output of this attempt.
                It gets what this server's journal has, and, last, what it does not pass on: `end`
                if no more will come, or a bookmark INITIAL_STATE_COMPLETE.

        Raises:
            InvalidArgument: the name, or (reason RESUME_TOKEN_INVALID) the token, is wrong.
            NotFound: there is no such experiment, attempt or task, or it was deleted meanwhile.
            OutOfRange: what the token stands for was lost in a crash.
            Unavailable: LOGS_UNAVAILABLE, another server keeps the output and cannot be reached.
            DataLoss: the journal is damaged.
        """
        target = await find_target(request, self._metastore)
        roles = None if self._sources.peers is None else target.roles
        sealer = self._tokens.sealer("logs", target.fingerprint)
        builder = FrameBuilder(sealer, target.text, roles)
        follower = Follower(self._sources, request, target, builder, draining)
        follower.start(self._start(request, target, builder, hop))
        try:
            async with aclosing(follower.part() if hop else follower.frames()) as frames:
                async for frame in frames:
                    yield frame
        finally:
            follower.close()

    @staticmethod
    def _start(
        request: StreamLogsRequest, target: Target, builder: FrameBuilder, hop: int
    ) -> Cursor:
        if request.resume_token:
            return builder.open(request.resume_token)
        if hop or request.HasField("tail_lines"):
            return Cursor(hop or target.attempt or target.latest)
        return Cursor()
