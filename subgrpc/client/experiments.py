# Made from aio/experiments.py by tools/make_sync_client.py: change that.
"""The experiments of a server."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from subgrpc import names
from subgrpc.client.following import Following
from subgrpc.client.handle import ExperimentHandle
from subgrpc.client.inputs import Command, Span, SpecLike, build, full_name
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentEvent, Task

_PARENT = names.team_name(names.DEFAULT_TEAM)
_Handles: TypeAlias = list[ExperimentHandle]


class Experiments(Following):
    """The experiments of a server; each is named by its id, or by its full name.

    Every method raises `SubgrpcError` subclasses (`subgrpc.errors`), with a `reason` and, where the
    request was wrong, the `violations`. Calls are tried again where that can help; each mutation
    carries a request id, your own or one that is made, so that this is harmless.
    """

    def _handle(self, experiment: Experiment) -> ExperimentHandle:
        return ExperimentHandle(self, experiment)

    def create(
        self,
        command: Command | None = None,
        *,
        spec: SpecLike | None = None,
        name: str = "",
        display_name: str = "",
        labels: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        cpu: str | float | None = None,
        memory: str | None = None,
        gpus: int | None = None,
        replicas: int | None = None,
        cluster: str = "",
        timeout: Span | None = None,
        max_retries: int | None = None,
        working_directory: str | os.PathLike[str] | None = None,
        parent: str = _PARENT,
        validate_only: bool = False,
        request_id: str = "",
    ) -> ExperimentHandle:
        """Creates an experiment; it is durable when this returns, and runs as soon as it can.

        What stands beside `spec` wins over what is in it.

        Args:
            command: a line for the shell, or a list of arguments that no shell reads.
            spec: instead of `command`: the path of a spec file, what such a file would hold as a
                mapping, what `subgrpc.spec` returns, or a message.
            name: its id; by default the spec's, or one that the server makes.
            display_name: a name for people.
            labels: labels to find it by.
            env: environment variables of every task.
            cpu: with `command`: cores of each task, such as 2 or "500m".
            memory: with `command`: memory of each task, such as "4Gi".
            gpus: with `command`: GPUs of each task.
            replicas: with `command`: how many tasks.
            cluster: where to run; by default the server's default cluster.
            timeout: how long it may run: seconds, "90m", or a timedelta.
            max_retries: how many attempts may follow the first.
            working_directory: for the `local` driver: where the tasks start.
            parent: the team.
            validate_only: only check; the answer is what would be created.
            request_id: a repeat with the same one returns the same experiment.

        Raises:
            InvalidArgument: with a violation for everything that is wrong.
            AlreadyExists: the name, or the request id, is taken.
        """
        wanted = build(
            spec,
            command,
            name=name,
            display_name=display_name,
            labels=labels,
            env=env,
            cpu=cpu,
            memory=memory,
            gpus=gpus,
            replicas=replicas,
            cluster=cluster,
            timeout=timeout,
            max_retries=max_retries,
            working_directory=working_directory,
        )
        made = self._calls.create_experiment(
            wanted.experiment,
            parent=parent,
            experiment_id=wanted.experiment_id,
            validate_only=validate_only,
            request_id=request_id,
        )
        return self._handle(made)

    def get(self, name: str) -> ExperimentHandle:
        """Returns an experiment.

        Raises:
            NotFound: there is none of that name.
        """
        return self._handle(self._calls.get_experiment(full_name(name)))

    def batch_get(self, experiments: Iterable[str], *, parent: str = _PARENT) -> _Handles:
        """Returns up to 100 experiments of a team, in the order asked for.

        Raises:
            NotFound: naming every one that is missing.
        """
        wanted = [full_name(each, parent) for each in experiments]
        found = self._calls.batch_get_experiments(wanted, parent=parent)
        return [self._handle(each) for each in found]

    def list(
        self,
        *,
        filter: str = "",  # noqa: A002 - the name of the request's field
        order_by: str = "",
        page_size: int = 0,
        parent: str = _PARENT,
    ) -> Iterator[ExperimentHandle]:
        """Yields experiments, page after page as they are needed, newest first.

        Args:
            filter: such as `state = RUNNING AND labels.team = "vision"`.
            order_by: `create_time`, `update_time`, `end_time` or `experiment_id`, and ` desc`.
            page_size: experiments a page: at most 1000; 0: 50.
            parent: the team.

        Raises:
            InvalidArgument: the filter or the order cannot be read.
        """
        found = self._calls.list_experiments(
            parent=parent, filter=filter, order_by=order_by, page_size=page_size
        )
        for each in found:
            yield self._handle(each)

    def update(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        display_name: str | None = None,
        etag: str = "",
        request_id: str = "",
    ) -> ExperimentHandle:
        """Replaces an experiment's labels, its display name, or both; None leaves it alone.

        Raises:
            NotFound: there is none of that name.
            Aborted: reason ETAG_MISMATCH: its etag is not `etag` any more.
        """
        changed = self._calls.update_experiment(
            full_name(name),
            labels=labels,
            display_name=display_name,
            etag=etag,
            request_id=request_id,
        )
        return self._handle(changed)

    def cancel(self, name: str, *, message: str = "", request_id: str = "") -> ExperimentHandle:
        """Asks for an experiment's end, `message` in its history; one that has ended stays so.

        Raises:
            NotFound: there is none of that name.
        """
        found = self._calls.cancel_experiment(
            full_name(name), message=message, request_id=request_id
        )
        return self._handle(found)

    def delete(
        self,
        name: str,
        *,
        force: bool = False,
        allow_missing: bool = False,
        etag: str = "",
        request_id: str = "",
    ) -> None:
        """Deletes an experiment with its events and output, for good.

        Raises:
            NotFound: there is none of that name, and `allow_missing` is not set.
            FailedPrecondition: reason EXPERIMENT_NOT_TERMINAL: it runs, and `force` is not set.
        """
        self._calls.delete_experiment(
            full_name(name),
            force=force,
            allow_missing=allow_missing,
            etag=etag,
            request_id=request_id,
        )

    def tasks(
        self,
        name: str,
        *,
        attempt: int | None = None,
        filter: str = "",  # noqa: A002
    ) -> Iterator[Task]:
        """Yields the tasks of an experiment's latest attempt, or of the one given.

        Raises:
            NotFound: there is no such experiment or attempt.
        """
        return self._calls.list_tasks(_attempt(name, attempt), filter=filter)

    def events(self, name: str) -> Iterator[ExperimentEvent]:
        """Yields an experiment's history, oldest first.

        Raises:
            NotFound: there is none of that name.
        """
        return self._calls.list_events(full_name(name))


def _attempt(name: str, attempt: int | None) -> str:
    return full_name(name) if attempt is None else names.attempt_name(full_name(name), attempt)
