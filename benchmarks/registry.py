"""The model registry with many versions: create, get and search, against a bare echo."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.loader import load, per_second
from benchmarks.messages import NUMBER, TEAM, write
from benchmarks.processes import folder
from benchmarks.report import Figure, Goal, Options
from benchmarks.servers import bare, held
from subgrpc.client import Client
from subgrpc.v1 import model_registry_service_pb2 as api

MANY, QUICK_MANY = 100_000, 5_000
"""Versions that there are at least."""
MODELS = 100
PAGE = 50
SERVICE = "/subgrpc.v1.ModelRegistryService/"
_NAME = f"{TEAM}/models/m-{NUMBER}"
_SECONDS = 1200.0
"""Making the versions must not take longer."""


class _Case(NamedTuple):
    name: str
    method: str
    request: Path
    goal: float | None
    size: int


def measure(options: Options) -> list[Figure]:
    """Makes the versions, then runs each call beside the echo."""
    many = QUICK_MANY if options.quick else MANY
    with folder() as here, held(here) as server:
        artifact = _prepare(server.address, here)
        create = write(
            here / "create",
            api.CreateModelVersionRequest(
                parent=_NAME,
                model_version=api.ModelVersion(
                    artifact=artifact,
                    tags={"kind": "bench"},
                    framework=api.ModelFramework(name="sklearn", version="1.5"),
                    metrics={"accuracy": 0.97},
                ),
            ),
        )
        made, end = 0, time.monotonic() + _SECONDS
        while made < many and time.monotonic() < end:
            report = load(
                *("unary", server.address, f"{SERVICE}CreateModelVersion", create),
                *("-seconds", 5 if many > QUICK_MANY else 1, "-range", MODELS),
            )
            made += report["calls"]
        if made < many:
            raise RuntimeError(f"only {made:,} versions were made in {_SECONDS:g} s")
        cases = _cases(here, server.address, create)
        with bare(here, *(case.size for case in cases)) as limit:
            return [_figure(case, server.address, limit.address, made, options) for case in cases]


def _prepare(address: str, here: Path) -> str:
    """Makes the models, and the artifact that every version is of; returns its name."""
    (here / "model.bin").write_bytes(b"weights")
    with Client(address) as client:
        for number in range(MODELS):
            client.create_model(api.Model(), model_id=f"m-{number:06d}", parent=TEAM)
        return client.artifacts.push(here / "model.bin").artifact.name


def _cases(here: Path, address: str, create: Path) -> list[_Case]:
    get = api.GetModelVersionRequest(name=f"{_NAME}/versions/7")
    search = api.ListModelVersionsRequest(
        parent=f"{TEAM}/models/-", page_size=PAGE, filter='tags.kind = "bench"'
    )
    calls = (
        ("create", "CreateModelVersion", create, None),
        ("get", "GetModelVersion", write(here / "get", get), 0.7),
        ("search-50", "ListModelVersions", write(here / "search", search), None),
    )
    cases = []
    for name, method, path, goal in calls:
        given = ("-seconds", 0.1, "-range", MODELS)
        size = load("unary", address, f"{SERVICE}{method}", path, *given)["size"]
        cases.append(_Case(name, f"{SERVICE}{method}", path, goal, size))
    return cases


def _figure(case: _Case, address: str, limit: str, made: int, options: Options) -> Figure:
    figure = Figure(
        f"{case.name} at {made // 1000:,}k versions",
        "calls/s",
        [],
        f"echo of {case.size:,} B",
        goal=None if case.goal is None else Goal("ratio", case.goal, at_least=True),
    )
    given = ("-seconds", 0.7 if options.quick else 2, "-range", MODELS)
    for _ in range(options.rounds(7)):
        bare_report = load("unary", limit, f"/bare/answer{case.size}", case.request, *given)
        figure.limits.append(per_second(bare_report))
        report = load("unary", address, case.method, case.request, *given)
        figure.values.append(per_second(report))
        figure.note = f"p99 {report['p99_ms']:.0f} ms"
    return figure
