"""Inputs: an experiment starts when its backend has them, each fetched once for all that wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from subgrpc.engine import fetching
from subgrpc.errors import NotFound, Unavailable
from subgrpc.testing.fake_inputs import GivenFiles
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentInput
from tests.unit.engine.conftest import World, reason, until
from tests.unit.engine.test_outputs import Shelf

NAME = "teams/default/artifacts/data"


class Library:
    """Where inputs are read from.

    Attributes:
        away: what every read raises; None: nothing.
        opened: how often something was read.
    """

    def __init__(self) -> None:
        self.files = {"a": b"1" * 10, "b": b"22"}
        self.away: Exception | None = None
        self.opened = 0
        self.held = asyncio.Event()
        self.held.set()

    def content(self, name: str, uid: str) -> GivenFiles:
        assert (name, uid) == (NAME, "uid-of-data")
        library = self

        class Held(GivenFiles):
            async def files(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
                library.opened += 1
                await library.held.wait()
                if library.away is not None:
                    raise library.away
                async for batch in super().files():
                    yield batch

        return Held(self.files)

    def experiment(self) -> Experiment:
        """One with the input, as it is when it was created."""
        wanted = GivenFiles(self.files).wanted("data")
        experiment = Experiment()
        experiment.inputs.append(
            ExperimentInput(
                input="data",
                artifact=NAME,
                artifact_uid="uid-of-data",
                digest=wanted.digest,
                file_count=2,
                size_bytes=12,
            )
        )
        return experiment


@pytest.fixture
async def library() -> Library:
    return Library()


@pytest.fixture
async def world(
    tmp_path: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    monkeypatch.setattr(fetching, "FIRST_BACKOFF", 0.02)
    made = World(tmp_path)
    made.artifacts, made.inputs = Shelf(), library
    await made.start()
    yield made
    await made.stop()


async def create(world: World, library: Library) -> str:
    """An experiment; the store's own references are tested elsewhere."""
    experiment = library.experiment()
    kept = list(experiment.inputs)
    del experiment.inputs[:]
    uid = await world.insert(experiment)

    def give(tx):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        found = tx.experiment(uid)
        found.inputs.extend(kept)
        tx.save_experiment(found)

    await world.store.write(give)
    world.engine.wake(uid, "one")
    return uid


async def test_it_starts_with_its_inputs(world: World, library: Library) -> None:
    """The backend has them before the run, whose workload names them."""
    uid = await create(world, library)
    await world.submitted(uid)
    [wanted] = world.backend.runs[uid, 1].workload.inputs
    assert (wanted.name, wanted.artifact) == ("data", NAME)
    assert world.backend.inputs[wanted.digest] == library.files


async def test_many_wait_for_one(world: World, library: Library) -> None:
    """They say for what; it is read once."""
    library.held.clear()
    uids = [await create(world, library) for _ in range(5)]
    for uid in uids:
        await until(lambda: reason(world, uid) == "FetchingInputs")  # noqa: B023
    experiment = world.get(uids[0])
    assert experiment is not None
    assert "'data'" in experiment.message
    assert NAME in experiment.message
    library.held.set()
    for uid in uids:
        await world.submitted(uid)
    assert library.opened == 1


async def test_a_store_that_is_away(world: World, library: Library) -> None:
    """It is tried again, and the experiment says so."""
    library.away = Unavailable("the store sleeps")
    uid = await create(world, library)

    def told() -> bool:
        experiment = world.get(uid)
        return experiment is not None and "the store sleeps" in experiment.message

    await until(told)
    library.away = None
    await world.submitted(uid)


async def test_an_artifact_that_is_gone(world: World, library: Library) -> None:
    """The experiment fails, and says why."""
    library.away = NotFound("there is no artifact data")
    uid = await create(world, library)
    await world.reaches(uid, "FAILED")
    assert reason(world, uid) == "InputFailed"


async def test_a_backend_that_forgot(world: World, library: Library) -> None:
    """Between two attempts, or just before the submit: it is fetched again."""
    uid = await create(world, library)
    await world.submitted(uid)
    world.backend.inputs.clear()
    other = await create(world, library)
    await world.submitted(other)
    assert library.opened == 2


async def test_a_cancel_while_it_is_fetched(world: World, library: Library) -> None:
    """It ends at once; so does a server that stops."""
    library.held.clear()
    uid = await create(world, library)
    await until(lambda: reason(world, uid) == "FetchingInputs")
    await world.change(uid, api.EXPERIMENT_STATE_CANCELLING)
    await world.reaches(uid, "CANCELLED")
