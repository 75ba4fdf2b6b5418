"""Which use case answers which method."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from subgrpc.rpc.register import UseCase
from subgrpc.services.clusters import ClusterCatalog
from subgrpc.services.experiments import Experiments
from subgrpc.services.history import History
from subgrpc.services.logs import Logs
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


def cluster_use_cases(clusters: ClusterCatalog) -> Mapping[str, UseCase]:
    """The methods of ClusterService."""
    return {
        "GetCluster": lambda request, _: clusters.get(request),
        "ListClusters": lambda request, _: clusters.list(request),
    }
