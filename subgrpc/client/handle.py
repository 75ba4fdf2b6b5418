# Made from aio/handle.py by tools/make_sync_client.py: change that.
"""One experiment: what is known of it, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from subgrpc import names
from subgrpc.client.feeds import Feed
from subgrpc.client.resume import PATIENCE
from subgrpc.client.states import is_terminal, state_word
from subgrpc.errors import NotFound
from subgrpc.v1.experiment_service_pb2 import (
    Experiment,
    ExperimentEvent,
    ExperimentState,
    LogChunk,
    LogGap,
    StreamLogsResponse,
    Task,
    WatchExperimentsResponse,
)

if TYPE_CHECKING:
    from subgrpc.client.experiments import Experiments


class ExperimentHandle:
    """An experiment as it was when the server last told; methods ask or change it there.

    Attributes:
        experiment: the API's message, with everything that is known of it.
    """

    def __init__(self, group: Experiments, experiment: Experiment) -> None:
        self._group = group
        self.experiment = experiment

    @property
    def name(self) -> str:
        """Its resource name, `teams/TEAM/experiments/ID`."""
        return self.experiment.name

    @property
    def id(self) -> str:
        """The last part of its name."""
        return names.parse_experiment(self.experiment.name).experiment

    @property
    def uid(self) -> str:
        """What tells it from every other that ever was, also from one that gets its name later."""
        return self.experiment.uid

    @property
    def state(self) -> str:
        """QUEUED, STARTING, RUNNING, CANCELLING, SUCCEEDED, FAILED, CANCELLED or DELETING."""
        return state_word(self.experiment)

    @property
    def reason(self) -> str:
        """Why it is in this state, a word such as `ExitCode`; empty: nothing to explain."""
        return self.experiment.reason

    @property
    def message(self) -> str:
        """The same for a person."""
        return self.experiment.message

    @property
    def ended(self) -> bool:
        """Whether its state is final."""
        return is_terminal(self.experiment)

    @property
    def succeeded(self) -> bool:
        """Whether it ended as it should."""
        return self.experiment.state == ExperimentState.EXPERIMENT_STATE_SUCCEEDED

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.state}>"

    def refresh(self) -> ExperimentHandle:
        """Asks the server how it stands, and returns itself.

        Raises:
            NotFound: it was deleted.
        """
        found = (self._group.get(self.name)).experiment
        if found.uid != self.uid:
            raise NotFound(f"{self.name} was deleted; another experiment has its name now")
        self.experiment = found
        return self

    def update(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        display_name: str | None = None,
        etag: str = "",
    ) -> ExperimentHandle:
        """Replaces its labels, its display name, or both, and returns itself.

        With `etag=handle.experiment.etag` only if nothing of it, its state included, has changed.

        Raises:
            NotFound: it was deleted.
            Aborted: reason ETAG_MISMATCH: its etag is not `etag` any more.
        """
        changed = self._group.update(self.name, labels=labels, display_name=display_name, etag=etag)
        self.experiment = changed.experiment
        return self

    def cancel(self, *, message: str = "") -> ExperimentHandle:
        """Asks for its end, `message` in its history, and returns itself, CANCELLING as a rule.

        Raises:
            NotFound: it was deleted.
        """
        self.experiment = (self._group.cancel(self.name, message=message)).experiment
        return self

    def delete(self, *, force: bool = False) -> None:
        """Deletes it with its events and output, for good.

        Raises:
            NotFound: it was deleted before.
            FailedPrecondition: reason EXPERIMENT_NOT_TERMINAL: it runs, and `force` is not set.
        """
        self._group.delete(self.name, force=force)

    def tasks(self, *, attempt: int | None = None, filter: str = "") -> Iterator[Task]:  # noqa: A002
        """Yields the tasks of its latest attempt, or of the one given."""
        return self._group.tasks(self.name, attempt=attempt, filter=filter)

    def events(self) -> Iterator[ExperimentEvent]:
        """Yields its history, oldest first."""
        return self._group.events(self.name)

    def watch(self, *, resume_token: str = "", patience: float = PATIENCE) -> Changes:
        """Yields it as it is, then its changes, until it has ended; see `Experiments.watch`."""
        return self._group.watch(
            parent=names.team_name(names.parse_experiment(self.name).team),
            filter=f'uid = "{self.uid}"',
            until_terminal=True,
            resume_token=resume_token,
            patience=patience,
        )

    def logs(
        self,
        *,
        follow: bool = False,
        tail_lines: int | None = None,
        stream: Literal["stdout", "stderr"] | None = None,
        attempt: int | None = None,
        since_attempt: int | None = None,
        task: str = "",
        text: bool = True,
        resume_token: str = "",
        patience: float = PATIENCE,
        on_gap: Callable[[LogGap], None] | None = None,
    ) -> Logs:
        """Yields its output; see `Experiments.logs`."""
        return self._group.logs(
            self.name,
            follow=follow,
            tail_lines=tail_lines,
            stream=stream,
            attempt=self._latest() if task and not (attempt or since_attempt) else attempt,
            since_attempt=since_attempt,
            task=task,
            text=text,
            resume_token=resume_token,
            patience=patience,
            on_gap=on_gap,
        )

    def _latest(self) -> int:
        return self.experiment.attempt or 1

    def wait(
        self,
        *,
        timeout: float | None = None,
        print_output: bool = False,
        patience: float = PATIENCE,
    ) -> ExperimentHandle:
        """Waits until it has ended, and returns itself; see `Experiments.wait`."""
        ended = self._group.wait(
            self, timeout=timeout, print_output=print_output, patience=patience
        )
        self.experiment = ended.experiment
        return self


@dataclass(frozen=True, slots=True)
class Change:
    """A change of an experiment, as the filter of a watch sees it.

    Attributes:
        type: ADDED: it matches now and did not before; MODIFIED: it still does; REMOVED: it does
            not any more, or is gone.
        experiment: the experiment after it; before it, if it was REMOVED.
        revision: grows with every change of anything.
    """

    type: str
    experiment: ExperimentHandle
    revision: int


Logs: TypeAlias = Feed[StreamLogsResponse, LogChunk]
Changes: TypeAlias = Feed[WatchExperimentsResponse, Change]
