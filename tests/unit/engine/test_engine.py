"""The engine with a driver that does what the test says: every path from QUEUED to the end."""

from __future__ import annotations

from datetime import timedelta

from subgrpc.driver import TaskKey
from subgrpc.errors import FieldViolation
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.cluster_service_pb2 import Cluster, ClusterHealth
from subgrpc.v1.experiment_service_pb2 import Experiment

from .conftest import World, now, until

CANCELLING, DELETING = api.EXPERIMENT_STATE_CANCELLING, api.EXPERIMENT_STATE_DELETING


async def settled(world: World, uid: str) -> None:
    """Waits until the backend is cleaned up and the journal complete."""
    await until(lambda: all(row.settled for row in now(world.store.attempts(uid))))


def output(world: World, uid: str) -> bytes:
    """What the journal of attempt 1 holds."""
    reader, position, data = world.journals.reader(uid, 1), 0, b""
    while not reader.at_end(position):
        batch = reader.read(position)
        data += b"".join(part for run in batch.runs for part in run.parts)
        position = batch.next
    return data


async def test_an_experiment_runs_to_its_end(world: World) -> None:
    """QUEUED, RUNNING, SUCCEEDED; then its logs are complete and its backend is clean."""
    uid = await world.create()
    await world.submitted(uid)
    world.set(uid, "RUNNING")
    await world.reaches(uid, "RUNNING")
    world.write(uid, b"hello\n")
    world.set(uid, "SUCCEEDED", exit_code=0)
    await world.reaches(uid, "SUCCEEDED")
    await settled(world, uid)
    assert output(world, uid) == b"hello\n"
    assert world.journals.reader(uid, 1).sealed
    assert not world.backend.runs
    kinds = [event.type for event in world.events(uid)]
    assert kinds == ["AttemptCreated", "StateChanged", "StateChanged"]


async def test_the_handle_is_stored_before_the_submit(world: World) -> None:
    """Whenever the backend has a run, the metastore has its handle."""
    uid = await world.create()
    await world.submitted(uid)
    row = now(world.store.attempt(uid, 1))
    assert row is not None
    assert row.handle == f"fake {uid} 1".encode()


async def test_a_failure_stops_the_others_and_is_the_reason(world: World) -> None:
    """The first failing task stops the rest, and its exit code is the experiment's."""
    experiment = Experiment()
    experiment.spec.task_groups.add(role="main", replicas=3, command="x")
    experiment.spec.termination_grace_period.seconds = 4
    uid = await world.create(experiment)
    await world.submitted(uid)
    for index in range(3):
        world.set(uid, "RUNNING", index)
    await world.reaches(uid, "RUNNING")
    run = world.backend.runs[uid, 1]
    world.set(uid, "FAILED", 1, reason="ExitCode", message="exit code 3", exit_code=3)
    await world.reaches(uid, "FAILED")
    failed = world.get(uid)
    assert failed is not None
    assert (failed.reason, failed.first_failure.exit_code) == ("ExitCode", 3)
    tasks, grace = run.stops[0]
    assert set(tasks) == {TaskKey("main", 0), TaskKey("main", 2)}
    assert grace == timedelta(seconds=4)


async def test_retries_are_new_attempts(world: World) -> None:
    """A failed attempt is followed by another, until one succeeds."""
    experiment = Experiment()
    experiment.spec.task_groups.add(role="main", command="x")
    experiment.spec.retry_policy.max_retries = 2
    experiment.spec.retry_policy.initial_backoff.FromMilliseconds(10)
    uid = await world.create(experiment)
    await world.submitted(uid, 1)
    world.set(uid, "FAILED", reason="ExitCode", message="exit code 1", exit_code=1)
    await world.submitted(uid, 2)
    world.set(uid, "SUCCEEDED", attempt=2)
    await world.reaches(uid, "SUCCEEDED")
    await settled(world, uid)
    assert [row.reason for row in now(world.store.attempts(uid))] == ["Backoff", ""]
    done = world.get(uid)
    assert done is not None
    assert done.attempt == 2
    assert not done.HasField("first_failure")


async def test_a_cancelled_run_is_stopped_and_waited_for(world: World) -> None:
    """CANCELLING until the backend says that nothing runs any more."""
    world.backend.obedient = False
    uid = await world.create()
    await world.submitted(uid)
    world.set(uid, "RUNNING")
    await world.reaches(uid, "RUNNING")
    await world.change(uid, CANCELLING)
    await until(lambda: bool(world.backend.runs[uid, 1].stops))
    assert world.state(uid) == "CANCELLING"
    world.set(uid, "CANCELLED")
    await world.reaches(uid, "CANCELLED")
    await settled(world, uid)


async def test_deletion_stops_cleans_up_and_forgets(world: World) -> None:
    """A running experiment that is deleted leaves nothing: run, journal, record."""
    uid = await world.create()
    await world.submitted(uid)
    world.set(uid, "RUNNING")
    world.write(uid, b"x" * 1000)
    await world.reaches(uid, "RUNNING")
    await world.change(uid, DELETING)
    await world.reaches(uid, "GONE")
    assert not world.backend.runs
    assert not world.journals.exists(uid, 1)
    assert now(world.store.attempts(uid)) == []


async def test_a_restart_goes_on_with_what_runs(world: World) -> None:
    """A server that dies mid-run finds the run again, submits nothing twice, loses no output."""
    uid = await world.create()
    await world.submitted(uid)
    world.set(uid, "RUNNING")
    world.write(uid, b"one\n")
    await world.reaches(uid, "RUNNING")
    await world.stop()
    world.write(uid, b"two\n")
    world.set(uid, "SUCCEEDED", exit_code=0)
    await world.start()
    await world.reaches(uid, "SUCCEEDED")
    await settled(world, uid)
    assert output(world, uid) == b"one\ntwo\n"
    assert len([event for event in world.events(uid) if event.type == "AttemptCreated"]) == 1


async def test_a_stored_attempt_that_never_reached_the_driver_is_submitted(world: World) -> None:
    """The server died between storing the attempt and submitting it: the next one submits it."""
    world.backend.outage = "away"
    uid = await world.create()
    await until(lambda: now(world.store.attempt(uid, 1)) is not None)
    await world.stop()
    assert not world.backend.runs
    world.backend.outage = ""
    await world.start()
    await world.submitted(uid)
    assert world.events(uid)[0].type == "AttemptCreated"
    assert len(now(world.store.attempts(uid))) == 1
    world.set(uid, "SUCCEEDED")
    await world.reaches(uid, "SUCCEEDED")


async def test_a_waiting_run_is_handed_over_again_after_a_restart(world: World) -> None:
    """Runs that wait get their secrets from the new server."""
    uid = await world.create()
    await world.submitted(uid)
    await world.restart()
    await until(lambda: world.backend.calls.count(("submit", (uid, 1))) == 2)


async def test_a_run_that_vanished_is_lost_after_a_second_look(world: World) -> None:
    """Only the backend's own word, twice, makes a run lost; it is tried again by policy."""
    experiment = Experiment()
    experiment.spec.task_groups.add(role="main", command="x")
    experiment.spec.retry_policy.max_retries = 1
    experiment.spec.retry_policy.initial_backoff.FromMilliseconds(1)
    uid = await world.create(experiment)
    await world.submitted(uid)
    world.set(uid, "RUNNING")
    await world.reaches(uid, "RUNNING")
    world.backend.vanish((uid, 1))
    await world.submitted(uid, 2)
    row = now(world.store.attempt(uid, 1))
    assert row is not None
    assert "Lost" in row.message
    world.set(uid, "SUCCEEDED", attempt=2)
    await world.reaches(uid, "SUCCEEDED")


async def test_an_outage_loses_nothing(world: World) -> None:
    """A backend that is away makes the cluster unhealthy, and no workload lost."""
    uid = await world.create()
    await world.submitted(uid)
    world.set(uid, "RUNNING")
    await world.reaches(uid, "RUNNING")
    world.backend.outage = "the fake backend is away"

    def cluster() -> Cluster:
        raw = now(world.store.get_cluster("clusters/one"))
        assert raw is not None
        return Cluster.FromString(raw)

    await until(lambda: cluster().health == ClusterHealth.CLUSTER_HEALTH_UNHEALTHY)
    assert cluster().reason == "BackendUnavailable"
    waiting = await world.create()

    def reason() -> str:
        experiment = world.get(waiting)
        return experiment.reason if experiment else ""

    await until(lambda: reason() == "ClusterUnhealthy")
    assert world.state(uid) == "RUNNING"
    world.backend.outage = ""
    await until(lambda: cluster().health == ClusterHealth.CLUSTER_HEALTH_HEALTHY)
    await world.submitted(waiting)
    await until(lambda: reason() == "")
    world.set(uid, "SUCCEEDED")
    await world.reaches(uid, "SUCCEEDED")


async def test_a_queue_timeout_ends_the_wait(world: World) -> None:
    """What does not start in time fails, is taken back from the driver, and is not retried."""
    experiment = Experiment()
    experiment.spec.task_groups.add(role="main", command="x")
    experiment.spec.queue_timeout.FromMilliseconds(50)
    experiment.spec.retry_policy.max_retries = 3
    uid = await world.create(experiment)
    await world.reaches(uid, "FAILED")
    failed = world.get(uid)
    assert failed is not None
    assert failed.reason == "QueueTimeout"
    assert "0.05 s" in failed.message


async def test_a_refused_spec_fails_with_the_drivers_words(world: World) -> None:
    """A driver that can never run it: FAILED, InvalidSpec, and nothing was submitted."""
    world.backend.violations = [FieldViolation("groups[0].resources.cpu", "it has 8 cores")]
    uid = await world.create()
    await world.reaches(uid, "FAILED")
    failed = world.get(uid)
    assert failed is not None
    assert failed.reason == "InvalidSpec"
    assert "8 cores" in failed.message
    assert not world.backend.runs


async def test_secrets_reach_the_driver_and_nothing_else(world: World) -> None:
    """The value comes with the submit; neither workload nor handle nor record has it."""
    folder = world.folder / "secrets" / "default"
    folder.mkdir(parents=True)
    (folder / "token").write_text("s3cr3t")
    experiment = Experiment()
    experiment.spec.task_groups.add(role="main", command="x").env.add(name="T", secret="token")
    uid = await world.create(experiment)
    await world.submitted(uid)
    run = world.backend.runs[uid, 1]
    assert dict(run.secrets) == {"teams/default/secrets/token": b"s3cr3t"}
    for place in (run.workload, world.get(uid), now(world.store.attempt(uid, 1))):
        assert "s3cr3t" not in str(place)


async def test_a_missing_secret_fails_the_experiment(world: World) -> None:
    """The message names the secret."""
    experiment = Experiment()
    experiment.spec.task_groups.add(role="main", command="x").env.add(name="T", secret="nope")
    uid = await world.create(experiment)
    await world.reaches(uid, "FAILED")
    failed = world.get(uid)
    assert failed is not None
    assert failed.reason == "SecretNotFound"
    assert "nope" in failed.message


async def test_many_at_once(world: World) -> None:
    """Two hundred experiments reach their end, each submitted once."""
    uids = [await world.create() for _ in range(200)]
    for uid in uids:
        await world.submitted(uid)
        world.set(uid, "SUCCEEDED")
    for uid in uids:
        await world.reaches(uid, "SUCCEEDED")
        await settled(world, uid)
    assert not world.backend.runs
    for uid in uids:
        assert world.backend.calls.count(("submit", (uid, 1))) == 1
