"""What is wrong with the watch, in outages, and with secrets."""

# The signatures are those of the methods that are overridden.
# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from subgrpc.driver import Gone, Observation, Synced
from subgrpc.errors import NotFound, Unavailable
from subgrpc.testing.fake import FakeRun
from subgrpc.testing.simulated import Process
from tests.unit.testing.broken import Broken, found_by, key
from tests.unit.testing.broken.output import ReadsLogs


class Watches(Broken):
    """Base of what is wrong with the watch."""


@found_by(
    "watch_begins_with_all_there_is", "a_watch_survives_an_outage", "another_driver_adopts",
)  # fmt: skip
class SyncsTooEarly(Watches):
    class Mixin:
        async def watch(self, control_plane_id):
            held, synced = [], False
            async for item in super().watch(control_plane_id):
                if synced:
                    yield item
                elif isinstance(item, Synced):
                    yield item
                    for each in held:
                        yield each
                    synced = True
                else:
                    held.append(item)


@found_by("a_watch_survives_an_outage")
class SyncsOnce(Watches):
    class Mixin:
        cut = False

        async def watch(self, control_plane_id):
            try:
                async for item in super().watch(control_plane_id):
                    if not (self.cut and isinstance(item, Synced)):
                        yield item
            except Unavailable:
                self.cut = True
                raise


@found_by("a_watch_survives_an_outage")
class SleepsThroughOutages(Watches):
    class Mixin:
        async def watch(self, control_plane_id):
            while True:
                try:
                    async for item in super().watch(control_plane_id):
                        if not getattr(self, "again", False):
                            yield item
                        elif isinstance(item, Synced):
                            self.again = False
                except Unavailable:
                    self.again = True
                    await asyncio.sleep(0.05)


@found_by("a_watch_begins_in_an_outage", "a_watch_survives_an_outage")
class SyncsBlindly(Watches):
    class Mixin:
        async def watch(self, control_plane_id):
            if self.backend.outage:
                yield Synced()
            async for item in super().watch(control_plane_id):
                yield item


@found_by("watch_sees_its_own_control_plane")
class WatchesEverybody(Watches):
    class Mixin:
        async def watch(self, control_plane_id):
            async for item in super().watch(control_plane_id):
                if isinstance(item, Synced):
                    for known in self.backend.runs.values():
                        if known.run.control_plane_id != control_plane_id:
                            yield known.observation()
                yield item


@found_by("watch_says_what_is_gone")
class NeverSaysGone(Watches):
    class Mixin:
        async def watch(self, control_plane_id):
            async for item in super().watch(control_plane_id):
                if not isinstance(item, Gone):
                    yield item


@found_by("watch_sends_every_change")
class WatchLosesTheHandle(Watches):
    class Mixin:
        async def watch(self, control_plane_id):
            async for item in super().watch(control_plane_id):
                if isinstance(item, Observation):
                    item.run.handle = b""
                yield item


@found_by("every_watcher_sees_all", "a_watch_that_is_left")
class OneWatcherAtATime(Watches):
    class Mixin:
        async def watch(self, control_plane_id):
            self.latest = mine = object()
            async for item in super().watch(control_plane_id):
                if self.latest is mine:
                    yield item


@found_by("a_watch_that_is_left")
class LeavesWithTheOthers(Watches):
    class Mixin:
        left = 0

        async def watch(self, control_plane_id):
            before = self.left
            try:
                async for item in super().watch(control_plane_id):
                    if self.left == before:
                        yield item
            finally:
                self.left += 1


@found_by("an_outage_is_unavailable")
class NotFoundInAnOutage(Broken):
    class Mixin:
        async def get(self, run):
            try:
                return await super().get(run)
            except Unavailable:
                raise NotFound("I see nothing") from None


@found_by("an_outage_is_unavailable")
class LogsNotFoundInAnOutage(ReadsLogs):
    class Mixin(ReadsLogs.Mixin):
        async def read(self, logs, run, task, stream, offset, follow):
            self._known(run)
            async for piece in logs(run, task, stream, offset, follow):
                yield piece


@found_by("calls_are_repeated_after_an_outage")
class BelievesThatItWasSubmitted(Broken):
    class Mixin:
        async def submit(self, workload, run, secrets):
            self.tried = getattr(self, "tried", set())
            if key(run) in self.tried and self.backend.outage == "":
                return
            if self.backend.outage:
                self.tried.add(key(run))
            await super().submit(workload, run, secrets)


@found_by("secrets_are_seen_by_nobody")
class ShowsSecrets(Broken):
    def take(self, known: FakeRun) -> None:
        super().take(known)
        for group in known.workload.groups:
            for name, reference in group.secret_env.items():
                known.workload.labels[name] = known.secrets[reference].decode(errors="ignore")


@found_by("secrets_are_seen_by_nobody")
class TellsSecrets(Broken):
    def take(self, known: FakeRun) -> None:
        super().take(known)
        known.message = repr(known.secrets)


@found_by("a_secret_is_its_task_s_only")
class GivesSecretsToAll(Broken):
    def environment(self, process: Process) -> dict[str, bytes]:
        known = self.runs[process.key]
        names = {n: k for group in known.workload.groups for n, k in group.secret_env.items()}
        extra = {name: known.secrets[reference] for name, reference in names.items()}
        return extra | super().environment(process)


@found_by("a_task_gets_its_secrets")
class TrimsSecrets(Broken):
    class Mixin:
        async def submit(self, workload, run, secrets: Mapping[str, bytes]):
            short = {name: value.strip(b"\xff\xfe") for name, value in secrets.items()}
            await super().submit(workload, run, short)


@found_by("environment")
class ExpandsVariables(Broken):
    def environment(self, process: Process) -> dict[str, bytes]:
        found = super().environment(process)
        return {name: value.replace(b"$HOME", b"/root") for name, value in found.items()}
