"""Experiments: created, read, changed, cancelled, deleted. The engine does the rest.

A use case writes what is wanted and wakes the engine; nothing here runs anything.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Protocol

from subgrpc import names, reasons
from subgrpc.errors import (
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    InvalidSpec,
    ResourceExhausted,
)
from subgrpc.filters import EXPERIMENT_FIELDS, parse_filter, parse_order
from subgrpc.metastore import Metastore, Transaction
from subgrpc.names import ExperimentName
from subgrpc.services import wire
from subgrpc.services.experiment_changes import (
    TERMINAL,
    cancel_now,
    check_etag,
    event,
    known_team,
    load,
    masked,
    missing,
    new_experiment,
    response,
    timestamp,
)
from subgrpc.services.pages import Pager, page_size
from subgrpc.services.requests import Once
from subgrpc.services.spec_rules import SecretLookup, check_spec
from subgrpc.tokens import TokenCodec
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentEvent, ExperimentInput
from subgrpc.v1.spec_pb2 import ExperimentSpec, Input
from subgrpc.validation import raise_violations, under

BATCH_BYTES: Final = 3 << 20
"""Greatest answer of BatchGetExperiments: clients take 4 MiB unless told otherwise."""


class Clusters(Protocol):
    """What experiments need of the clusters, and of the engine that leads them."""

    @property
    def clusters(self) -> Collection[str]:
        """The names of the configured clusters."""

    @property
    def default_cluster(self) -> str:
        """The one for experiments that name none; empty: there is none."""

    async def validate(self, cluster: str, experiment: Experiment) -> None:
        """Raises InvalidSpec, with paths that start at the spec, if the cluster never can."""

    def wake(self, experiment: Experiment) -> None:
        """Sees to it that the engine looks at an experiment now."""


class Inputs(Protocol):
    """Says what the inputs of specs mean."""

    async def resolve(self, team: str, inputs: Sequence[Input]) -> Sequence[ExperimentInput]:
        """What they mean now. Raises InvalidArgument, with paths that start at the spec."""


class Experiments:
    """The use cases of ExperimentService that concern one experiment, or the list of them."""

    def __init__(
        self,
        store: Metastore,
        tokens: TokenCodec,
        clusters: Clusters,
        secrets: SecretLookup,
        inputs: Inputs,
    ) -> None:
        self._inputs = inputs
        self._store = store
        self._tokens = tokens
        self._clusters = clusters
        self._secrets = secrets

    async def create(self, request: api.CreateExperimentRequest, principal: str) -> bytes:
        """Stores a new experiment; it is durable when this returns."""
        once = Once.of(principal, request, Transaction.experiment)
        try:
            experiment = await self._checked(request, principal)
        except InvalidArgument:
            # A repeat is answered even if, say, its secret is gone by now.
            if not request.validate_only and (done := await once.repeated(self._store)):
                return response(done)
            raise
        if request.validate_only:
            experiment.create_time.GetCurrentTime()
            return response(experiment)

        def insert(tx: Transaction) -> Experiment:
            tx.insert_experiment(experiment)
            tx.add_event(
                experiment.uid,
                ExperimentEvent(type="Created", state=experiment.state, message=f"by {principal}"),
            )
            return experiment

        return self._changed(await once.write(self._store, insert), experiment.name)

    async def get(self, request: api.GetExperimentRequest) -> bytes:
        """Returns an experiment as it is stored, unparsed."""
        name = names.parse_experiment(request.name)
        stored = await self._store.get_experiment(name.team, name.experiment)
        if stored is None:
            raise missing(request.name)
        return wire.length_delimited(1, stored)

    async def batch_get(self, request: api.BatchGetExperimentsRequest) -> bytes:
        """Returns several experiments of one team in the order asked for."""
        team = names.parse_team(request.parent)
        ids = []
        for index, name in enumerate(request.names):
            parsed = names.parse_experiment(name, f"names[{index}]")
            if parsed.team != team:
                text = f"{name!r} is not of {request.parent}"
                raise InvalidArgument(
                    violations=[FieldViolation(f"names[{index}]", text, "FOREIGN_NAME")]
                )
            ids.append(parsed.experiment)
        found = await self._store.batch_get_experiments(team, ids)
        if gone := [each for each in dict.fromkeys(ids) if each not in found]:
            raise missing(*(str(ExperimentName(team, each)) for each in gone))
        body = wire.repeated(1, (found[each] for each in ids))
        if len(body) > BATCH_BYTES:
            text = f"the answer would have {len(body)} bytes; ask for fewer experiments at once"
            raise ResourceExhausted(text, reason="RESPONSE_TOO_LARGE")
        return body

    async def list(self, request: api.ListExperimentsRequest) -> bytes:
        """Returns one page of a team's experiments."""
        team = known_team(request.parent)
        chosen = parse_filter(request.filter, EXPERIMENT_FIELDS)
        order = parse_order(request.order_by)
        text = chosen.text if chosen is not None else ""
        pager = Pager(self._tokens, "experiments", team, text, order.text)
        page = await self._store.list_experiments(
            team,
            filter=chosen,
            order=order,
            after=pager.start(request.page_token),
            limit=page_size(request.page_size),
        )
        return pager.response(page)

    async def update(self, request: api.UpdateExperimentRequest, principal: str) -> bytes:
        """Changes labels and display name, as far as the mask says."""
        wanted = request.experiment
        name = names.parse_experiment(wanted.name, "experiment.name")
        fields = masked(request.update_mask.paths)

        def change(tx: Transaction) -> Experiment:
            experiment = load(tx, name)
            check_etag(experiment, wanted.etag)
            if "display_name" in fields:
                experiment.display_name = wanted.display_name
            if "labels" in fields:
                experiment.labels.clear()
                experiment.labels.update(wanted.labels)
            tx.save_experiment(experiment)
            return experiment

        done = await Once.of(principal, request, Transaction.experiment).write(self._store, change)
        return self._changed(done, wanted.name, wake=False)

    async def cancel(self, request: api.CancelExperimentRequest, principal: str) -> bytes:
        """Asks for an experiment's end; what was never started ends at once."""
        name = names.parse_experiment(request.name)
        message = request.message or f"cancelled by {principal}"

        def change(tx: Transaction) -> Experiment:
            experiment = load(tx, name)
            if experiment.state in (
                *TERMINAL,
                api.EXPERIMENT_STATE_CANCELLING,
                api.EXPERIMENT_STATE_DELETING,
            ):
                return experiment
            queued = experiment.state == api.EXPERIMENT_STATE_QUEUED
            experiment.state = api.EXPERIMENT_STATE_CANCELLING
            experiment.reason, experiment.message = reasons.CANCELLED, message
            tx.add_event(experiment.uid, event(experiment, "CancelRequested"))
            if queued and experiment.attempt == 0:
                cancel_now(experiment, timestamp(tx.now))
                tx.add_event(experiment.uid, event(experiment, "StateChanged"))
            tx.save_experiment(experiment)
            return experiment

        return self._changed(
            await Once.of(principal, request, Transaction.experiment).write(self._store, change),
            request.name,
        )

    async def delete(self, request: api.DeleteExperimentRequest, principal: str) -> bytes:
        """Marks an experiment for deletion; the engine cleans up and removes it."""
        name = names.parse_experiment(request.name)

        def change(tx: Transaction) -> Experiment | None:
            if request.allow_missing and tx.experiment_by_name(*name) is None:
                return None
            experiment = load(tx, name)
            check_etag(experiment, request.etag)
            if experiment.state == api.EXPERIMENT_STATE_DELETING:
                return experiment
            if experiment.state not in TERMINAL and not request.force:
                state = api.ExperimentState.Name(experiment.state).removeprefix("EXPERIMENT_STATE_")
                text = f"{request.name} is {state}: cancel it first, or delete it with force"
                raise FailedPrecondition(
                    text, reason="EXPERIMENT_NOT_TERMINAL", metadata={"subject": request.name}
                )
            experiment.state = api.EXPERIMENT_STATE_DELETING
            experiment.reason, experiment.message = reasons.DELETED, f"deleted by {principal}"
            tx.add_event(experiment.uid, event(experiment, "DeleteRequested"))
            tx.save_experiment(experiment)
            return experiment

        done = await Once.of(principal, request, Transaction.experiment).write(self._store, change)
        return b"" if done is None else self._changed(done, request.name)

    async def _checked(self, request: api.CreateExperimentRequest, principal: str) -> Experiment:
        """The experiment that a request would create.

        Raises:
            InvalidArgument: its spec, or its cluster, cannot be.
        """
        team = known_team(request.parent)
        spec = request.experiment.spec
        raise_violations(under("experiment.spec", check_spec(spec, team, self._secrets)))
        experiment = new_experiment(request, team, self._cluster(spec.cluster), principal)
        if spec.inputs:
            experiment.inputs.extend(await self._resolved(team, spec))
        try:
            await self._clusters.validate(experiment.cluster, experiment)
        except InvalidSpec as error:
            violations = under("experiment.spec", error.violations)
            raise InvalidSpec(violations=violations, reason=error.reason) from error
        return experiment

    async def _resolved(self, team: str, spec: ExperimentSpec) -> Sequence[ExperimentInput]:
        try:
            return await self._inputs.resolve(team, spec.inputs)
        except InvalidArgument as error:
            violations = under("experiment.spec", error.violations)
            raise InvalidArgument(violations=violations, reason=error.reason) from error

    def _cluster(self, asked: str) -> str:
        """The cluster's full name, or the default one's."""
        clusters = self._clusters
        chosen = asked.removeprefix("clusters/") or clusters.default_cluster
        if chosen in clusters.clusters:
            return names.cluster_name(chosen)
        known = ", ".join(sorted(clusters.clusters)) or "none"
        text = (
            f"there is no cluster {chosen!r}" if chosen else "name a cluster: there is no default"
        )
        violation = FieldViolation(
            "experiment.spec.cluster", f"{text}; configured: {known}", "UNKNOWN_CLUSTER"
        )
        raise InvalidArgument(violations=[violation], reason="UNKNOWN_CLUSTER")

    def _changed(self, experiment: Experiment | None, name: str, *, wake: bool = True) -> bytes:
        """The answer to a mutation; None: it is a repeat, and the experiment is gone since."""
        if experiment is None:
            raise missing(name)
        if wake:
            self._clusters.wake(experiment)
        return response(experiment)
