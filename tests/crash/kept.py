"""Judges outputs: what a task left and then succeeded is an artifact, whole, once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from subgrpc.client import AsyncClient
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.artifact_service_pb2 import ARTIFACT_STATE_READY, Artifact
from subgrpc.v1.experiment_service_pb2 import Experiment

from . import evidence, workload

if TYPE_CHECKING:
    from .universe import Result


async def judge(
    database: evidence.Database,
    client: AsyncClient,
    experiments: Iterable[Experiment],
    result: Result,
) -> None:
    """Looks at the outputs of all experiments; adds counts, and what is wrong, to the result."""
    bodies = database.rows("SELECT body FROM artifact")
    artifacts = [Artifact.FromString(body) for (body,) in bodies]
    ready = {each.name: each for each in artifacts if each.state == ARTIFACT_STATE_READY}
    result.counts["outputs"] += len(ready)
    made = Counter(each.source.SerializeToString() for each in ready.values())
    if any(count > 1 for count in made.values()):
        result.doubled.append("an output was stored as two artifacts")
    for experiment in experiments:
        kind = workload.KINDS[experiment.labels["kind"]]
        if not kind.keep or experiment.state != api.EXPERIMENT_STATE_SUCCEEDED:
            continue
        named = {each.task: each for each in experiment.outputs}
        wanted = "".join(f"{number}\n" for number in range(1, kind.keep + 1)).encode()
        digest = hashlib.sha256(wanted).hexdigest()
        for task in workload.tasks(experiment.labels["kind"]):
            output = named.get(task)
            if output is None or output.artifact not in ready:
                result.lost.append(f"output of {task} of {experiment.uid} is not there")
                continue
            files = {e.path: e.sha256 async for e in client.artifacts.files(output.artifact)}
            if set(files) != {"early", "numbers"} or files["numbers"] != digest:
                result.lost.append(f"{output.artifact} is not what {experiment.uid} left")
