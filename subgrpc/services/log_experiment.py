"""What a follower of logs has to know of the experiment: whether it goes on, or has ended."""

from __future__ import annotations

from typing import Final

from subgrpc.errors import NotFound
from subgrpc.metastore import Metastore
from subgrpc.services.alarm import Alarm
from subgrpc.services.log_target import Target
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentState

_OVER: Final = frozenset(
    (
        ExperimentState.EXPERIMENT_STATE_SUCCEEDED,
        ExperimentState.EXPERIMENT_STATE_FAILED,
        ExperimentState.EXPERIMENT_STATE_CANCELLED,
        ExperimentState.EXPERIMENT_STATE_DELETING,
    )
)


class FollowedExperiment:
    """The experiment of one stream of logs."""

    def __init__(self, metastore: Metastore, target: Target, alarm: Alarm) -> None:
        """The alarm rings after its changes, once `listen` was called."""
        self._metastore = metastore
        self._target = target
        self._alarm = alarm
        self._revision = -1

    def listen(self) -> None:
        """Has the alarm ring after its next change; call it before looking at it."""
        feed = self._metastore.feed
        if self._revision < 0 or feed.revision > self._revision:
            self._revision = feed.revision
            self._alarm.ring_after("change", self._changed(self._revision))

    async def get(self) -> Experiment:
        """It as it is now.

        Raises:
            NotFound: it was deleted.
        """
        stored = await self._metastore.get_experiment_by_uid(self._target.uid)
        if stored is None:
            text = f"{self._target.name} was deleted"
            raise NotFound(text, reason="EXPERIMENT_NOT_FOUND")
        return Experiment.FromString(stored)

    async def is_complete(self, attempt: int) -> bool:
        """Whether all output of an attempt was collected, though it may have been none."""
        row = await self._metastore.attempt(self._target.uid, attempt)
        return row is not None and row.logs_complete

    def next_attempt(self, attempt: int, experiment: Experiment, *, follow: bool) -> int:
        """Returns the attempt to go on with after one (0: none); 0: there is none now."""
        if self._target.attempt:
            return 0 if attempt else self._target.attempt
        last = experiment.attempt if follow else self._target.latest
        following = max(attempt + 1, self._target.first)
        return following if following <= last else 0

    def is_over(self, attempt: int, experiment: Experiment, *, complete: bool) -> bool:
        """Whether, after the attempt that was read last, no more output will come.

        Args:
            attempt: that attempt.
            experiment: as it is now.
            complete: whether all output of what was read had been collected.
        """
        if self._target.attempt:
            return complete
        return complete and attempt >= experiment.attempt and experiment.state in _OVER

    async def _changed(self, revision: int) -> None:
        feed, uid = self._metastore.feed, self._target.uid
        while True:
            await feed.wait(revision)
            changes = feed.after(revision)
            if changes is None or any(change.uid == uid for change in changes):
                return
            revision = feed.revision
