"""Which use case answers which method."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from subgrpc.rpc.register import UseCase
from subgrpc.services.clusters import ClusterCatalog
from subgrpc.services.experiments import Experiments
from subgrpc.services.history import History
from subgrpc.services.logs import Logs
from subgrpc.services.model_aliases import ModelAliases
from subgrpc.services.model_versions import ModelVersions
from subgrpc.services.models import Models
from subgrpc.services.watch import Watches


def experiment_use_cases(
    experiments: Experiments,
    history: History,
    watches: Watches,
    logs: Logs,
    draining: asyncio.Event,
) -> Mapping[str, UseCase]:
    """The methods of ExperimentService."""
    return {
        "CreateExperiment": lambda request, call: experiments.create(request, call.principal),
        "GetExperiment": lambda request, _: experiments.get(request),
        "BatchGetExperiments": lambda request, _: experiments.batch_get(request),
        "ListExperiments": lambda request, _: experiments.list(request),
        "UpdateExperiment": lambda request, call: experiments.update(request, call.principal),
        "CancelExperiment": lambda request, call: experiments.cancel(request, call.principal),
        "DeleteExperiment": lambda request, call: experiments.delete(request, call.principal),
        "WatchExperiments": lambda request, _: watches.watch(request),
        "StreamLogs": lambda request, call: logs.stream(request, draining, hop=call.hop),
        "ListTasks": lambda request, _: history.list_tasks(request),
        "ListExperimentEvents": lambda request, _: history.list_events(request),
    }


def model_use_cases(
    models: Models, versions: ModelVersions, aliases: ModelAliases, watches: Watches
) -> Mapping[str, UseCase]:
    """The methods of ModelRegistryService."""
    return {
        "CreateModel": lambda request, call: models.create(request, call.principal),
        "GetModel": lambda request, _: models.get(request),
        "ListModels": lambda request, _: models.list(request),
        "UpdateModel": lambda request, call: models.update(request, call.principal),
        "DeleteModel": lambda request, call: models.delete(request, call.principal),
        "CreateModelVersion": lambda request, call: versions.create(request, call.principal),
        "GetModelVersion": lambda request, _: versions.get(request),
        "ListModelVersions": lambda request, _: versions.list(request),
        "UpdateModelVersion": lambda request, call: versions.update(request, call.principal),
        "DeleteModelVersion": lambda request, call: versions.delete(request, call.principal),
        "SetModelVersionStage": lambda request, call: versions.set_stage(request, call.principal),
        "SetModelAlias": lambda request, call: aliases.set(request, call.principal),
        "DeleteModelAlias": lambda request, call: aliases.delete(request, call.principal),
        "RollbackModelAlias": lambda request, call: aliases.rollback(request, call.principal),
        "ListModelHistory": lambda request, _: models.history(request),
        "WatchModels": lambda request, _: watches.watch_models(request),
    }


def cluster_use_cases(clusters: ClusterCatalog) -> Mapping[str, UseCase]:
    """The methods of ClusterService."""
    return {
        "GetCluster": lambda request, _: clusters.get(request),
        "ListClusters": lambda request, _: clusters.list(request),
    }
