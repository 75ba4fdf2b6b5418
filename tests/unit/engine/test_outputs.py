"""Outputs: an experiment ends when they are stored, each once, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from subgrpc.driver import OutputKey, TaskKey
from subgrpc.engine import keeper
from subgrpc.engine.content import Content
from subgrpc.errors import InvalidArgument, Unavailable
from subgrpc.testing.fake_outputs import take
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.artifact_service_pb2 import Artifact, ArtifactSource
from subgrpc.v1.experiment_service_pb2 import Experiment
from subgrpc.v1.spec_pb2 import OutputWhen
from tests.unit.engine.conftest import World, reason, until

MAIN = TaskKey("main", 0)
ALWAYS = OutputWhen.OUTPUT_WHEN_ALWAYS


class Shelf:
    """Keeps artifacts in memory; the same for several engines, as a store is.

    Attributes:
        away: the message of the Unavailable that everything raises; empty: none.
        refuses: the message of the InvalidArgument that `store` raises.
        no_model: the same of `register`.
        versions: the artifacts that are versions of models.
        made: every artifact that was made, also the second time.
    """

    def __init__(self) -> None:
        self.artifacts: dict[str, tuple[Artifact, dict[str, bytes]]] = {}
        self.away = ""
        self.refuses = ""
        self.no_model = ""
        self.versions: dict[str, list[str]] = {}
        self.slow = 0.0
        self.made: list[str] = []
        self.calls = 0

    async def store(
        self,
        name: str,
        content: Content,
        *,
        source: ArtifactSource,
        creator: str,
        display_name: str,
        labels: Mapping[str, str],
    ) -> Artifact:
        self.calls += 1
        self._check()
        if self.refuses:
            raise InvalidArgument(self.refuses)
        if name in self.artifacts:
            assert self.artifacts[name][0].source == source
            return self.artifacts[name][0]
        files: dict[str, bytes] = {}
        async for batch in content.files():
            paths = [each.path for each in batch]
            files.update(dict.fromkeys(paths, b""))
            async for piece in content.read(paths):
                files[paths[piece.file]] += piece.data
                await asyncio.sleep(self.slow)
                self._check()
        made = Artifact(name=name, source=source, creator=creator, display_name=display_name)
        made.labels.update(labels)
        made.file_count, made.size_bytes = len(files), sum(map(len, files.values()))
        self.artifacts[name] = made, files
        self.made.append(name)
        return made

    async def register(self, model: str, artifact: str, creator: str) -> str:
        self._check()
        if self.no_model:
            raise InvalidArgument(self.no_model)
        known = self.versions.setdefault(model, [])
        if artifact not in known:
            known.append(artifact)
        return f"{model}/versions/{known.index(artifact) + 1}"

    async def remove(self, name: str) -> None:
        self._check()
        self.artifacts.pop(name, None)

    def _check(self) -> None:
        if self.away:
            raise Unavailable(self.away, reason="STORE_UNAVAILABLE")


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def world(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    monkeypatch.setattr(keeper, "FIRST_BACKOFF", 0.02)
    monkeypatch.setattr(keeper, "LOOK_EVERY", (0.02, 0.02))
    made = World(tmp_path)
    made.artifacts = shelf
    await made.start()
    yield made
    await made.stop()


def with_output(replicas: int = 1, retries: int = 0, **more: object) -> Experiment:
    experiment = Experiment(creator="ada")
    experiment.spec.task_groups.add(role="main", command="x", replicas=replicas)
    experiment.spec.outputs.add(name="model", **more)  # type: ignore[arg-type]
    experiment.spec.retry_policy.max_retries = retries
    experiment.spec.retry_policy.initial_backoff.FromMilliseconds(1)
    return experiment


def leave(world: World, uid: str, attempt: int = 1, index: int = 0, **more: object) -> None:
    """Lets the backend take the output of a task."""
    taken = world.backend.runs[uid, attempt].taken
    take(taken, TaskKey("main", index), "model", {"a": b"1", "d/b": b"22"}, **more)  # type: ignore[arg-type]


async def started(world: World, experiment: Experiment) -> str:
    uid = await world.create(experiment)
    await world.submitted(uid)
    for index in range(experiment.spec.task_groups[0].replicas):
        world.set(uid, "RUNNING", index)
    await world.reaches(uid, "RUNNING")
    return uid


def events(world: World, uid: str, kind: str) -> list[str]:
    return [each.message for each in world.events(uid) if each.type == kind]


async def test_an_experiment_ends_with_its_outputs_stored(world: World, shelf: Shelf) -> None:
    """The artifact has the files, says where it comes from, and the experiment names it."""
    uid = await started(world, with_output(labels={"k": "v"}))
    leave(world, uid)
    world.set(uid, "SUCCEEDED")
    await world.reaches(uid, "SUCCEEDED")
    [(name, (made, files))] = shelf.artifacts.items()
    assert files == {"a": b"1", "d/b": b"22"}
    source = made.source
    assert (source.experiment_uid, source.attempt, source.output) == (uid, 1, "model")
    assert (source.task, source.sequence) == ("main-0", 1)
    experiment = world.get(uid)
    assert experiment is not None
    assert made.display_name == f"{experiment.name.rpartition('/')[2]}/model"
    assert (made.creator, dict(made.labels)) == ("ada", {"k": "v"})
    [output] = experiment.outputs
    assert (output.output, output.task, output.artifact) == ("model", "main-0", name)
    assert (output.file_count, output.size_bytes) == (2, 3)
    assert events(world, uid, "OutputStored") == [f"model: 2 files, 3 B, as {name}"]
    await until(lambda: (uid, 1) not in world.backend.runs)


async def test_it_waits_while_the_store_is_away(world: World, shelf: Shelf) -> None:
    """It says so, once in its history; nothing is deleted; then it ends well."""
    shelf.away = "the store sleeps"
    uid = await started(world, with_output())
    leave(world, uid)
    world.set(uid, "SUCCEEDED")
    await until(lambda: shelf.calls > 2)
    await until(lambda: reason(world, uid) == "UploadingOutputs")
    experiment = world.get(uid)
    assert experiment is not None
    assert "the store sleeps" in experiment.message
    assert world.state(uid) == "RUNNING"
    assert (uid, 1) in world.backend.runs
    shelf.away = ""
    await world.reaches(uid, "SUCCEEDED")
    warnings = events(world, uid, "Warning")
    assert len(warnings) == 1
    assert "the store sleeps" in warnings[0]


@pytest.mark.parametrize("moment", ["before", "stored", "recorded"])
async def test_a_server_that_dies_stores_it_once(world: World, shelf: Shelf, moment: str) -> None:
    """Before it is stored, before that is recorded, or after: one artifact, one event."""
    shelf.away = "not yet" if moment == "before" else ""
    world.backend.outage = ""
    uid = await started(world, with_output())
    leave(world, uid)
    if moment == "stored":  # the engine dies before it can record it
        shelf.slow = 0.05
    world.set(uid, "SUCCEEDED")
    await until(lambda: shelf.calls > 0)
    if moment == "recorded":
        await world.reaches(uid, "SUCCEEDED")
    elif moment == "stored":
        await until(lambda: bool(shelf.made))
    await world.stop()
    shelf.away, shelf.slow = "", 0.0
    await world.start()
    await world.reaches(uid, "SUCCEEDED")
    assert len(shelf.made) == len(shelf.artifacts) == 1
    assert len(events(world, uid, "OutputStored")) == 1


async def test_failed_attempts_keep_what_is_always_kept(world: World, shelf: Shelf) -> None:
    """Of each attempt; the experiment shows the newest, the store has all."""
    uid = await started(world, with_output(retries=1, when=ALWAYS))
    leave(world, uid, 1)
    world.set(uid, "FAILED", reason="ExitCode", exit_code=1)
    await world.submitted(uid, 2)
    leave(world, uid, 2)
    world.set(uid, "RUNNING", attempt=2)
    world.set(uid, "FAILED", attempt=2, reason="ExitCode", exit_code=1)
    await world.reaches(uid, "FAILED")
    assert sorted(made.source.attempt for made, _ in shelf.artifacts.values()) == [1, 2]
    experiment = world.get(uid)
    assert experiment is not None
    assert [each.attempt for each in experiment.outputs] == [2]
    assert experiment.reason == "ExitCode"


async def test_failed_attempts_keep_nothing_else(world: World, shelf: Shelf) -> None:
    """An output of success, of a task that succeeded in an attempt that did not."""
    uid = await started(world, with_output(replicas=2))
    leave(world, uid)
    world.set(uid, "SUCCEEDED", 0)
    world.set(uid, "FAILED", 1, reason="ExitCode", exit_code=1)
    await world.reaches(uid, "FAILED")
    assert shelf.artifacts == {}


async def test_every_task_s_output(world: World, shelf: Shelf) -> None:
    """An artifact each, and an event each."""
    uid = await started(world, with_output(replicas=3, every_task=True))
    for index in range(3):
        leave(world, uid, index=index)
        world.set(uid, "SUCCEEDED", index)
    await world.reaches(uid, "SUCCEEDED")
    assert sorted(made.source.task for made, _ in shelf.artifacts.values()) == [
        "main-0",
        "main-1",
        "main-2",
    ]
    assert len(events(world, uid, "OutputStored")) == 3


async def test_a_backend_that_lost_an_output(world: World, shelf: Shelf) -> None:
    """An experiment without a required output has not succeeded, whatever its tasks say."""
    uid = await started(world, with_output())
    world.set(uid, "SUCCEEDED")
    await world.reaches(uid, "FAILED")
    assert reason(world, uid) == "OutputMissing"


async def test_an_optional_output_may_be_missing(world: World) -> None:
    """Then there is none."""
    uid = await started(world, with_output(optional=True))
    world.set(uid, "SUCCEEDED")
    await world.reaches(uid, "SUCCEEDED")


async def test_an_output_that_is_refused(world: World, shelf: Shelf) -> None:
    """It is not tried for ever: the experiment fails, with what the store says."""
    shelf.refuses = "no such name"
    uid = await started(world, with_output())
    leave(world, uid)
    world.set(uid, "SUCCEEDED")
    await world.reaches(uid, "FAILED")
    experiment = world.get(uid)
    assert experiment is not None
    assert (experiment.reason, "no such name" in experiment.message) == ("OutputFailed", True)
    assert shelf.calls == 1


async def test_a_cancel_gives_up_what_only_success_keeps(world: World, shelf: Shelf) -> None:
    """Also while the store is away: it ends at once."""
    shelf.away = "away for long"
    uid = await started(world, with_output())
    leave(world, uid)
    world.set(uid, "SUCCEEDED")
    await until(lambda: reason(world, uid) == "UploadingOutputs")
    await world.change(uid, api.EXPERIMENT_STATE_CANCELLING)
    await world.reaches(uid, "CANCELLED")
    assert shelf.artifacts == {}


async def test_a_cancelled_experiment_keeps_what_is_always_kept(world: World, shelf: Shelf) -> None:
    """It is CANCELLED when that is stored."""
    uid = await started(world, with_output(when=ALWAYS))
    leave(world, uid)
    await world.change(uid, api.EXPERIMENT_STATE_CANCELLING)
    await world.reaches(uid, "CANCELLED")
    assert len(shelf.artifacts) == 1


async def test_a_deleted_experiment_keeps_nothing(world: World, shelf: Shelf) -> None:
    """Nobody waits for a store that is away."""
    shelf.away = "away for long"
    uid = await started(world, with_output(when=ALWAYS))
    leave(world, uid)
    world.set(uid, "SUCCEEDED")
    await until(lambda: reason(world, uid) == "UploadingOutputs")
    await world.change(uid, api.EXPERIMENT_STATE_DELETING)
    await world.reaches(uid, "GONE")


async def test_checkpoints(world: World, shelf: Shelf) -> None:
    """They are stored while the task runs, released when they are recorded; few are kept."""
    experiment = with_output(keep_last=2)
    experiment.spec.outputs[0].interval.FromSeconds(1)
    uid = await started(world, experiment)
    run = world.backend.runs[uid, 1]
    for sequence in range(1, 5):
        leave(world, uid, sequence=sequence, final=False)
        world.backend.wake(run.run)
        await until(lambda: OutputKey(MAIN, "model", sequence) not in run.taken)  # noqa: B023
    assert world.state(uid) == "RUNNING"
    assert sorted(made.source.sequence for made, _ in shelf.artifacts.values()) == [3, 4]
    leave(world, uid, sequence=5)
    world.set(uid, "SUCCEEDED")
    await world.reaches(uid, "SUCCEEDED")
    assert sorted(made.source.sequence for made, _ in shelf.artifacts.values()) == [3, 4, 5]
    found = world.get(uid)
    assert found is not None
    assert [each.sequence for each in found.outputs] == [5]


async def test_checkpoints_survive_a_failure(world: World, shelf: Shelf) -> None:
    """Also one that was not stored yet when the task died."""
    experiment = with_output()
    experiment.spec.outputs[0].interval.FromSeconds(1)
    uid = await started(world, experiment)
    shelf.away = "away"
    leave(world, uid, sequence=1, final=False)
    world.set(uid, "FAILED", reason="Lost")
    await until(lambda: shelf.calls > 0)
    shelf.away = ""
    await world.reaches(uid, "FAILED")
    assert [made.source.sequence for made, _ in shelf.artifacts.values()] == [1]


async def test_progress_is_shown(
    world: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How much of what is being stored."""
    monkeypatch.setattr(keeper, "PROGRESS_EVERY", 0.0)
    shelf.slow = 0.2
    uid = await started(world, with_output())
    leave(world, uid)
    world.set(uid, "SUCCEEDED")

    def shown() -> bool:
        experiment = world.get(uid)
        return experiment is not None and "1 B of 3 B" in experiment.message

    await until(shown)
    await world.reaches(uid, "SUCCEEDED")


async def test_a_version_of_a_model(world: World, shelf: Shelf) -> None:
    """What a successful attempt leaves is registered, once, and the experiment says as what."""
    uid = await started(world, with_output(model="digits"))
    leave(world, uid)
    world.set(uid, "SUCCEEDED")
    await world.reaches(uid, "SUCCEEDED")
    experiment = world.get(uid)
    assert experiment is not None
    [output] = experiment.outputs
    assert output.model_version == "teams/default/models/digits/versions/1"
    assert shelf.versions == {"teams/default/models/digits": [output.artifact]}
    assert len(events(world, uid, "ModelRegistered")) == 1


async def test_failed_attempts_make_no_version(world: World, shelf: Shelf) -> None:
    """Also of outputs that they keep."""
    uid = await started(world, with_output(model="digits", when=ALWAYS))
    leave(world, uid)
    world.set(uid, "FAILED", reason="ExitCode", exit_code=1)
    await world.reaches(uid, "FAILED")
    assert (len(shelf.artifacts), shelf.versions) == (1, {})


async def test_a_version_that_cannot_be(world: World, shelf: Shelf) -> None:
    """The experiment fails, and says why; its output is kept."""
    shelf.no_model = "no such thing"
    uid = await started(world, with_output(model="digits"))
    leave(world, uid)
    world.set(uid, "SUCCEEDED")
    await world.reaches(uid, "FAILED")
    assert reason(world, uid) == "OutputFailed"
    assert len(shelf.artifacts) == 1
