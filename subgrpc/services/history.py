"""What happened to an experiment: its tasks and its events."""

from __future__ import annotations

from typing import Final

from subgrpc import names
from subgrpc.errors import FieldViolation, InvalidArgument, NotFound
from subgrpc.filters import TASK_FIELDS, parse_filter
from subgrpc.metastore import Metastore
from subgrpc.names import ExperimentName
from subgrpc.services.experiment_changes import missing
from subgrpc.services.pages import Pager, page_size
from subgrpc.tokens import TokenCodec
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment

EVERY_ATTEMPT: Final = "-"


class History:
    """The use cases ListTasks and ListExperimentEvents."""

    def __init__(self, store: Metastore, tokens: TokenCodec) -> None:
        self._store = store
        self._tokens = tokens

    async def list_tasks(self, request: api.ListTasksRequest) -> bytes:
        """Returns one page of the tasks of the latest attempt, of one attempt, or of all."""
        name, _, attempt = request.parent.partition("/attempts/")
        experiment = await self._experiment(names.parse_experiment(name, "parent"))
        chosen = parse_filter(request.filter, TASK_FIELDS)
        text = chosen.text if chosen is not None else ""
        pager = Pager(self._tokens, "tasks", experiment.uid, attempt, text)
        page = await self._store.list_tasks(
            experiment.uid,
            self._attempt(experiment, attempt),
            filter=chosen,
            after=pager.start(request.page_token),
            limit=page_size(request.page_size),
        )
        return pager.response(page)

    async def list_events(self, request: api.ListExperimentEventsRequest) -> bytes:
        """Returns one page of an experiment's history."""
        experiment = await self._experiment(names.parse_experiment(request.parent, "parent"))
        pager = Pager(self._tokens, "events", experiment.uid)
        start = pager.start(request.page_token)
        page = await self._store.list_events(
            experiment.uid, after=start[0] if start else 0, limit=page_size(request.page_size)
        )
        return pager.response(page)

    async def _experiment(self, name: ExperimentName) -> Experiment:
        stored = await self._store.get_experiment(name.team, name.experiment)
        if stored is None:
            raise missing(str(name))
        return Experiment.FromString(stored)

    def _attempt(self, experiment: Experiment, asked: str) -> int | None:
        """The number of the attempt that is asked for; None: all of them."""
        if asked == EVERY_ATTEMPT:
            return None
        if not asked:
            return experiment.attempt
        if not asked.isdigit():
            text = f'{asked!r} is no number of an attempt; "{EVERY_ATTEMPT}" stands for all'
            raise InvalidArgument(violations=[FieldViolation("parent", text, "RESOURCE_NAME")])
        # Attempts have no holes, and the current one is the last.
        if len(asked) > 9 or not 1 <= int(asked) <= experiment.attempt:
            text = f"{experiment.name} has no attempt {asked[:20]}; it has {experiment.attempt}"
            raise NotFound(text, reason="ATTEMPT_NOT_FOUND", metadata={"name": experiment.name})
        return int(asked)
