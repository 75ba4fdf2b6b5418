"""How an artifact becomes a version of a model: all of it in one transaction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from subgrpc import names
from subgrpc.errors import FieldViolation, InvalidArgument, NotFound
from subgrpc.filters import stage_name
from subgrpc.metastore import Transaction, artifacts, models
from subgrpc.metastore.model_history import History
from subgrpc.metastore.models import Kept
from subgrpc.names import ModelName, VersionName
from subgrpc.services import model_pointing
from subgrpc.services.experiment_changes import known_team, timestamp
from subgrpc.services.model_changes import (
    NO_STAGE,
    check_alias,
    load_model,
    missing_version,
    set_stage,
)
from subgrpc.services.models import new_model
from subgrpc.v1.artifact_service_pb2 import Artifact
from subgrpc.v1.model_registry_service_pb2 import (
    CreateModelVersionRequest,
    Model,
    ModelEvent,
    ModelLineage,
    ModelSource,
    ModelVersion,
)
from subgrpc.validation import raise_violations

_OUTPUTS: Final = 1000
"""So many of an experiment's outputs are looked through, the newest first."""


@dataclass(frozen=True, slots=True)
class Registration:
    """One request for a version, which is valid by itself."""

    name: ModelName
    request: CreateModelVersionRequest
    principal: str

    @classmethod
    def of(cls, request: CreateModelVersionRequest, principal: str) -> Registration:
        """Reads a request.

        Raises:
            InvalidArgument: it names no files, or too many; an alias is reserved.
            NotFound: TEAM_NOT_FOUND.
        """
        name = names.parse_model(request.parent, "parent")
        known_team(names.team_name(name.team))
        wanted = request.model_version
        if bool(wanted.artifact) is request.HasField("source"):
            text = "give either an artifact or the output of an experiment as source"
            raise InvalidArgument(
                violations=[FieldViolation("model_version.artifact", text, "REQUIRED")]
            )
        for index, alias in enumerate(request.aliases):
            check_alias(alias, f"aliases[{index}]")
        raise_violations(_foreign(request, name.team))
        return cls(name, request, principal)

    def register(self, tx: Transaction) -> ModelVersion:
        """Stores the version.

        Raises:
            NotFound: MODEL_NOT_FOUND, ARTIFACT_NOT_FOUND, OUTPUT_NOT_FOUND, or
                MODEL_VERSION_NOT_FOUND of a parent.
            FailedPrecondition: ARTIFACT_NOT_READY.
        """
        request = self.request
        model = self._model(tx)
        for parent in request.model_version.lineage.parent_versions:
            if models.version_by_name(tx, names.parse_version(parent)) is None:
                raise missing_version(names.parse_version(parent))
        source = request.model_version.artifact
        if not source:
            source = _output(tx, self.name.team, request.source).name
        number = models.next_number(tx, model.message)
        name = VersionName(*self.name, number)
        version = self._version(artifacts.refer(tx, source, str(name)), name)
        version.lineage.parent_versions.extend(self._parents(tx, version.lineage))
        history = History(tx, model.message.uid, self.principal, request.message)
        history.add(ModelEvent(type="VersionRegistered", version=number, to_value=source))
        version.stage_time.CopyFrom(timestamp(tx.now))
        stage = stage_name(request.model_version.stage or NO_STAGE)
        if stage != NO_STAGE:
            history.add(set_stage(version, stage, timestamp(tx.now)))
        for alias in dict.fromkeys(request.aliases):
            model_pointing.point(tx, model.message, version, alias, history)
        models.insert_version(tx, version)
        model.message.latest_version = number
        model.message.version_count += 1
        models.save_model(tx, model)
        return version

    def _model(self, tx: Transaction) -> Kept[Model]:
        if not self.request.create_model:
            return load_model(tx, self.name)
        found = models.model_by_name(tx, self.name)
        if found is None:
            found = models.insert_model(tx, new_model(self.name, Model(), self.principal))
            History(tx, found.message.uid, self.principal).add(ModelEvent(type="Created"))
        return found

    def _version(self, artifact: Artifact, name: VersionName) -> ModelVersion:
        wanted = self.request.model_version
        version = ModelVersion(
            name=str(name),
            uid=names.new_uid(),
            number=name.number,
            artifact=artifact.name,
            artifact_digest=artifact.digest,
            size_bytes=artifact.size_bytes,
            description=wanted.description,
            tags=wanted.tags,
            stage=NO_STAGE,
            signature=wanted.signature if wanted.HasField("signature") else None,
            framework=wanted.framework if wanted.HasField("framework") else None,
            metrics=wanted.metrics,
            creator=self.principal,
        )
        lineage, source = version.lineage, artifact.source
        lineage.experiment, lineage.experiment_uid = source.experiment, source.experiment_uid
        lineage.attempt, lineage.output = source.attempt, source.output
        return version

    def _parents(self, tx: Transaction, lineage: ModelLineage) -> Iterable[str]:
        """What it was made of: as the request says, and what its experiment had as inputs."""
        given = list(self.request.model_version.lineage.parent_versions)
        experiment = tx.experiment(lineage.experiment_uid) if lineage.experiment_uid else None
        if experiment is not None:
            given += [each.model_version for each in experiment.inputs if each.model_version]
        return dict.fromkeys(given)


def _foreign(request: CreateModelVersionRequest, team: str) -> list[FieldViolation]:
    """What is named that is another team's."""
    wanted = request.model_version
    named = {
        "model_version.artifact": wanted.artifact,
        "source.experiment": request.source.experiment,
        **{
            f"model_version.lineage.parent_versions[{index}]": each
            for index, each in enumerate(wanted.lineage.parent_versions)
        },
    }
    start = f"{names.team_name(team)}/"
    return [
        FieldViolation(field, f"{name!r} is not of {names.team_name(team)}", "FOREIGN_NAME")
        for field, name in named.items()
        if name and not name.startswith(start)
    ]


def _output(tx: Transaction, team: str, source: ModelSource) -> Artifact:
    """The artifact that an experiment's output became: of several times it was taken, the last."""
    found = models.outputs(tx, team, source.experiment, _OUTPUTS)
    experiment = tx.experiment_by_name(*names.parse_experiment(source.experiment))
    # An experiment of that name may have been deleted, and another made.
    uid = experiment.uid if experiment is not None else ""
    found = [each for each in found if not uid or each.source.experiment_uid == uid]
    there = sorted({each.source.output for each in found})
    if not source.output and len(there) > 1:
        text = f"{source.experiment} has several outputs, name one: {', '.join(there)}"
        raise InvalidArgument(violations=[FieldViolation("source.output", text, "REQUIRED")])
    wanted = [
        each
        for each in found
        if source.output in ("", each.source.output) and source.attempt in (0, each.source.attempt)
    ]
    if not wanted:
        raise _no_output(source, there)
    return max(wanted, key=lambda each: (each.source.attempt, each.source.sequence))


def _no_output(source: ModelSource, there: list[str]) -> NotFound:
    what = f"output {source.output!r}" if source.output else "output"
    attempt = f" of attempt {source.attempt}" if source.attempt else ""
    has = f"; it has {', '.join(there)}" if there else ""
    return NotFound(
        f"{source.experiment} has no {what}{attempt} that is ready{has}",
        reason="OUTPUT_NOT_FOUND",
        metadata={"name": source.experiment},
    )
